"""One copy of a pair, as a person is shown it. Pure."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass

from mitm_mirror.observe.compare import Response
from mitm_mirror.observe.compare.coding import BodyTooLargeError, BrokenCodingError, decode_body
from mitm_mirror.observe.compare.json_body import parse_json
from mitm_mirror.observe.compare.responses import content_codings
from mitm_mirror.text import decode

_SHOWN_BYTES = 256 * 1024
"""A decoded body above it is not laid out: a person reads less, and mitmproxy's UI waits meanwhile."""


@dataclass(frozen=True, slots=True)
class Leg:
    """Where one copy went and what came back."""

    name: str
    """`primary` or `shadow`."""
    destination: str
    """The cluster's name."""
    authority: str
    """The Host that was sent."""
    endpoint: str
    """`127.0.0.1:8001`; empty where it is not known."""
    status_line: str
    """`200 OK`; without an answer the reason why."""
    duration_ms: float | None
    response: Response | None
    """None without an answer."""

    def answer_lines(self) -> list[str]:
        """Status, header lines and body as text, JSON laid out; one line for what is no text."""
        if self.response is None:
            return [self.status_line]
        headers = [f"{decode(name)}: {decode(value)}" for name, value in self.response.headers]
        return [self.status_line, *headers, "", *_body_lines(self.response)]


def _body_lines(response: Response) -> list[str]:
    cut = [] if response.complete else [f"(the first {len(response.body)} bytes, the rest was not kept)"]
    try:
        body = decode_body(response.body, content_codings(response.headers), _SHOWN_BYTES)
    except BodyTooLargeError:
        return [f"(more than {_SHOWN_BYTES} bytes, which is too much to be shown here)", *cut]
    except BrokenCodingError as error:
        return [f"({len(response.body)} bytes that cannot be decoded: {error})", *cut]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return [f"({len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()})", *cut]
    if text.lstrip()[:1] in {"{", "["}:
        with suppress(ValueError, RecursionError):  # no JSON, or nested too deeply: then as it is
            text = json.dumps(parse_json(text), indent=2, ensure_ascii=False)
    return [*text.splitlines(), *cut]
