"""The end of one shadow, as its owner hears of it. Values only."""

from typing import Generic, TypeVar

import msgspec

from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.message import ShadowResult

Token = TypeVar("Token")


class Ending(msgspec.Struct, Generic[Token], frozen=True):
    """How one submitted shadow ended. Each gets exactly one of these."""

    token: Token
    """What the owner gave with the request."""
    outcome: Outcome
    result: ShadowResult | None
    """What the worker saw; None where the pool itself ended the shadow."""
    waited_ms: float
    """From `submit` until a worker got it; until the end where none did."""
    error: str
    """Why, in one line, without any header or body content; empty for `ok`."""
