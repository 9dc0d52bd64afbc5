"""Which fields differ, how often, and with what values; of bounded size."""

from collections import Counter

from mitm_mirror.observe.compare import generalise
from mitm_mirror.observe.noise import FieldEvidence
from mitm_mirror.observe.report.lines import DifferenceField

_FIELDS = 200
_EXAMPLES = 3


class Field:
    """What was seen at one path, array indexes left open."""

    __slots__ = ("answers", "evidence", "examples", "kinds", "noise", "noisy_answers", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.answers = 0
        """Answers in which it differs, noise left aside."""
        self.noisy_answers = 0
        """Answers in which it differs, and that is noise."""
        self.noise = ""
        """Why it is noise, as it was told last."""
        self.kinds: Counter[str] = Counter()
        self.examples: list[tuple[str, DifferenceField]] = []
        """(id of the request, difference): the first few with different values."""
        self.evidence = FieldEvidence()

    def add(self, id_: str, difference: DifferenceField) -> None:
        if difference.noise:
            self.noisy_answers += 1
            self.noise = difference.noise
        else:
            self.answers += 1
            self.evidence.add(difference.primary, difference.shadow)
        self.kinds[difference.kind] += 1
        if len(self.examples) < _EXAMPLES and not any(
            known.primary == difference.primary and known.shadow == difference.shadow
            for _, known in self.examples
        ):
            self.examples.append((id_, difference))


class FieldTable:
    """The fields of one mirror."""

    __slots__ = ("_fields", "left_out")

    def __init__(self) -> None:
        self._fields: dict[str, Field] = {}
        self.left_out = 0
        """Differences at further paths than are kept."""

    def add(self, id_: str, difference: DifferenceField) -> None:
        """Takes in one difference of one answer."""
        path = generalise(difference.path)
        field = self._fields.get(path)
        if field is None:
            if len(self._fields) >= _FIELDS:
                self.left_out += 1
                return
            field = self._fields[path] = Field(path)
        field.add(id_, difference)

    def fields(self) -> list[Field]:
        """Most frequent first; noise comes last."""
        return sorted(
            self._fields.values(), key=lambda field: (-field.answers, -field.noisy_answers, field.path)
        )
