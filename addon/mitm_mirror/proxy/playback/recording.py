"""Reads recorded requests, and makes them ready to be sent again."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mitmproxy import connection, exceptions, flow, http
from mitmproxy.io import FlowReader

from mitm_mirror.proxy.flows import read_head
from mitm_mirror.proxy.pairs import is_shadow
from mitm_mirror.proxy.replay import restore_received
from mitm_mirror.routing.request import RequestHead


class RecordingError(Exception):
    """A file that holds no recorded flows; the text says which, and what is expected."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that can be sent again."""

    flow: http.HTTPFlow
    """Without the answer that was recorded."""
    started: float
    """UNIX seconds."""
    client: str
    """The id of the client connection that it came over. A HAR file has none, so each is its own."""


@dataclass(slots=True)
class Recording:
    """What the files have, in the order in which it was received."""

    requests: list[RecordedRequest] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """What is not sent, by the reason."""
    unmatched: dict[str, None] = field(default_factory=dict)
    """The hosts of requests that no rule is about, as a set that keeps its order."""
    warnings: list[str] = field(default_factory=list)


def read_recording(paths: Sequence[str], is_matched: Callable[[RequestHead], bool]) -> Recording:
    """Reads flow files and HAR files. Raises RecordingError.

    Requests that no rule is about are left out: they would go to the servers that they were recorded
    with, which nobody asked for.
    """
    recording = Recording()
    for path in paths:
        for recorded in _read_file(path, recording):
            _add(recorded, recording, is_matched)
    recording.requests.sort(key=lambda request: request.started)
    return recording


def _read_file(path: str, recording: Recording) -> Iterator[flow.Flow]:
    count = 0
    try:
        with Path(path).expanduser().open("rb") as file:
            is_har = file.peek(4).removeprefix(b"\xef\xbb\xbf").startswith(b"{")
            for recorded in FlowReader(file).stream():
                count += 1
                if is_har and isinstance(recorded, http.HTTPFlow):
                    _tidy_har(recorded.request)
                yield recorded
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    except exceptions.FlowReadException as error:
        if not count:
            raise RecordingError(
                f"{path}: {error} Expected a flow file as mitmproxy writes it (-w FILE), or a HAR file."
            ) from error
        # The end of a file is often missing, where the proxy that wrote it was killed.
        recording.warnings.append(f"{path}: only the first {count} flows can be read: {error}")


def _tidy_har(request: http.Request) -> None:
    """Browsers export HTTP/2's pseudo headers, and then no Host; neither can be sent as it is."""
    request.http_version = "HTTP/1.1"
    headers = request.headers
    headers.fields = tuple(line for line in headers.fields if not line[0].startswith(b":"))
    # Of the connection that it was recorded from.
    for name in ("connection", "transfer-encoding"):
        headers.pop(name, None)
    if "host" not in headers:
        headers.insert(0, "Host", request.pretty_url.split("/", 3)[2])


def _add(recorded: flow.Flow, recording: Recording, is_matched: Callable[[RequestHead], bool]) -> None:
    reason = _obstacle(recorded)
    if reason or not isinstance(recorded, http.HTTPFlow):
        recording.skipped[reason] += 1
        return
    started = recorded.request.timestamp_start
    _make_ready(recorded)
    head = read_head(recorded)
    if is_matched(head):
        recording.requests.append(RecordedRequest(recorded, started, recorded.client_conn.id))
    else:
        recording.skipped["no rule is about its host"] += 1
        recording.unmatched[head.authority] = None


def _obstacle(recorded: flow.Flow) -> str:
    """Why a flow cannot be sent again; empty where it can be."""
    if not isinstance(recorded, http.HTTPFlow):
        return "not HTTP"
    if is_shadow(recorded):
        return "a shadow"  # its primary is sent, and mirrored anew
    if recorded.websocket is not None:
        return "a websocket"
    if recorded.request.method == "CONNECT":
        return "a CONNECT"
    if recorded.request.raw_content is None:
        return "its body was not recorded"
    return ""


def _make_ready(recorded: http.HTTPFlow) -> None:
    """As it was when it was received, from a client that is still there, and from no server yet."""
    recorded.is_replay = "request"
    recorded.response = recorded.error = None
    recorded.client_conn.state = connection.ConnectionState.OPEN
    recorded.server_conn = connection.Server(address=None)
    restore_received(recorded)
