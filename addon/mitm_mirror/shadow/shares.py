"""How one total is shared out, so that no taker can keep it from the others. No I/O, O(1) a step.

Half of the total is for whoever comes first. The other half is divided equally among the takers that
are known, and a taker's own part of it is given to nobody else. So

- a single taker may hold everything, and
- of n takers each one that holds less than `own` = total / 2n gets more at once, whatever the others
  do: they can hold at most the common half and their own parts.

The promise begins when a taker is known. What others held by then they keep until they give it back.

Rejected: equal parts for all (a mirror that is busy alone would get 1/n of the machine), and taking back
what was given (a shadow that is on its way cannot be unsent).
"""


class Holding:
    """What one taker has of a total. Only its `Shares` changes it."""

    __slots__ = ("amount",)

    def __init__(self) -> None:
        self.amount = 0


class Shares:
    """One total, such as slots or bytes, and who holds what of it."""

    __slots__ = ("_common", "_common_used", "_holdings", "own", "total", "used")

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.own = 0
        """What each taker can always have."""
        self._holdings: set[Holding] = set()
        self._common = 0
        self._common_used = 0

    @property
    def common_left(self) -> int:
        """What takers can still get beyond their own parts; below 0 for a while after a change."""
        return min(self._common - self._common_used, self.total - self.used)

    def join(self) -> Holding:
        """A new taker. Costs O(takers), as do `leave` and `resize`."""
        holding = Holding()
        self._holdings.add(holding)
        self._divide()
        return holding

    def leave(self, holding: Holding) -> None:
        """A taker that holds nothing goes, and the others' parts grow."""
        assert holding.amount == 0
        self._holdings.remove(holding)
        self._divide()

    def resize(self, total: int) -> None:
        """Change the total. Nobody loses what he holds, also where that is more than there is now."""
        self.total = total
        self._divide()

    def take(self, holding: Holding, amount: int) -> bool:
        """Give him so much more; False, and nothing, where it is not his to have."""
        used = self.used + amount
        if used > self.total:
            return False
        held = holding.amount + amount
        over = held - self.own
        if over > 0:
            common = self._common_used + min(amount, over)
            if common > self._common:
                return False
            self._common_used = common
        self.used = used
        holding.amount = held
        return True

    def give_back(self, holding: Holding, amount: int) -> None:
        """Take so much back from him."""
        over = holding.amount - self.own
        if over > 0:
            self._common_used -= min(amount, over)
        self.used -= amount
        holding.amount -= amount

    def _divide(self) -> None:
        takers = len(self._holdings)
        # With few slots the half rounds to nothing: one each, then, where there are so many.
        self.own = 0 if takers == 0 else max(self.total // (2 * takers), int(takers <= self.total))
        self._common = self.total - takers * self.own
        self._common_used = sum(max(holding.amount - self.own, 0) for holding in self._holdings)
