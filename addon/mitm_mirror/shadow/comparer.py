"""Compares shadows' answers with their primaries', where the shadows are sent: in the worker."""

import logging
from collections.abc import Callable
from functools import lru_cache

from mitm_mirror.ignore_rules import IgnoreRules
from mitm_mirror.observe.compare import (
    CompareSettings,
    Comparison,
    NotCompared,
    Response,
    compare_responses,
    not_compared,
)
from mitm_mirror.shadow.answer import AnswerRoom, CompareTerms, PrimaryAnswer, ShadowAnswer

logger = logging.getLogger(__name__)


class _Pair:
    __slots__ = ("primary", "shadow", "terms")

    def __init__(self, terms: CompareTerms) -> None:
        self.terms = terms
        self.primary: Response | None = None
        self.shadow: ShadowAnswer | None = None


class Comparer:
    """Holds the one answer of a pair until the other one comes. Numbers that it does not know (any more)
    are passed over."""

    def __init__(self, room: AnswerRoom, on_compared: Callable[[int, Comparison], None]) -> None:
        """`room` is what the shadows' bodies were taken from; the primaries' are the proxy's to bound."""
        self._room = room
        self._on_compared = on_compared
        self._pairs: dict[int, _Pair] = {}
        self._reported: set[str] = set()

    def expect(self, number: int, terms: CompareTerms) -> None:
        """A shadow is being sent."""
        self._pairs[number] = _Pair(terms)

    def expects(self, number: int) -> bool:
        """Whether its answer is wanted."""
        return number in self._pairs

    def shadow(self, number: int, answer: ShadowAnswer) -> None:
        """It was answered; its body is given back to the room when it is compared or forgotten."""
        pair = self._pairs[number]
        pair.shadow = answer
        self._compare_if_both(number, pair)

    def primary(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        """The primary of that shadow was answered."""
        pair = self._pairs.get(number)
        if pair is not None:
            pair.primary = Response(
                answer.status,
                answer.headers,
                body,
                complete=answer.complete,
                authorities=answer.authorities,
            )
            self._compare_if_both(number, pair)

    def forget(self, number: int) -> None:
        """No comparison is wanted any more."""
        pair = self._pairs.pop(number, None)
        if pair is not None and pair.shadow is not None:
            self._room.give_back(len(pair.shadow.body))

    def _report(self, kind: str) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            logger.warning("Comparing two answers failed with an unexpected %s; said once.", kind)

    def _compare_if_both(self, number: int, pair: _Pair) -> None:
        primary, shadow, terms = pair.primary, pair.shadow, pair.terms
        if primary is None or shadow is None:
            return
        answer = Response(
            shadow.status,
            shadow.headers,
            shadow.body,
            complete=shadow.complete,
            authorities=terms.authorities,
        )
        try:
            comparison = compare_responses(primary, answer, _settings(terms.ignore))
        except Exception as error:  # noqa: BLE001  a bug; its message may quote the answers
            comparison = not_compared(NotCompared.FAILED)
            self._report(type(error).__name__)
        self.forget(number)
        self._on_compared(number, comparison)


@lru_cache(maxsize=256)
def _settings(ignore: tuple[str, ...]) -> CompareSettings:
    """Kept, as an expression is made of the rules."""
    return CompareSettings(ignore=IgnoreRules(ignore))
