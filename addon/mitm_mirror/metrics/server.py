"""The endpoint that Prometheus reads: a thread of its own, which asks the proxy's loop for a snapshot only.

Rendering a page takes milliseconds, which the loop must not lose; reading the counts outside of the loop
would show some that do not agree with one another.
"""

import concurrent.futures
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mitm_mirror.metrics.families import MetricsPage
from mitm_mirror.metrics.snapshot import MetricsSnapshot
from mitm_mirror.observe.record import format_address

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 5.0
"""How long a scrape waits for the loop. Prometheus gives up after 10 s by default."""

_CLIENT_TIMEOUT_S = 10.0
_POLL_S = 0.1
"""How long `close` may take."""

CallSoon = Callable[[Callable[[], None]], object]
"""Has a function called in the proxy's loop; callable from any thread: `loop.call_soon_threadsafe`."""


class _NoSnapshotError(Exception):
    """The proxy's loop gave none."""


class MetricsServer:
    """Serves from construction until `close`. Raises ValueError where it cannot listen."""

    def __init__(
        self, host: str, port: int, take_snapshot: Callable[[], MetricsSnapshot], call_soon: CallSoon
    ) -> None:
        self._take_snapshot = take_snapshot
        self._call_soon = call_soon
        self._closed: concurrent.futures.Future[None] = concurrent.futures.Future()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_SnapshotCollector(self._ask_loop))
        ProcessCollector(registry=registry)
        try:
            self._server = _listen(host, port)
        except OSError as error:
            raise ValueError(
                f"cannot listen at {format_address(host, port)}: {error.strerror}; "
                "expected an address of this machine and a port that is free"
            ) from error
        self._server.set_app(_guard(make_wsgi_app(registry)))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="mirror: metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Call it from the loop: a scrape that waits for the loop is let go first."""
        self._closed.set_result(None)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _ask_loop(self) -> MetricsSnapshot:
        future: concurrent.futures.Future[MetricsSnapshot] = concurrent.futures.Future()

        def answer() -> None:
            try:
                future.set_result(self._take_snapshot())
            except Exception as error:  # noqa: BLE001  whoever asked in the other thread gets it
                future.set_exception(error)

        try:
            self._call_soon(answer)
        except RuntimeError as error:
            raise _NoSnapshotError("the proxy's event loop has ended") from error
        either: list[concurrent.futures.Future[Any]] = [future, self._closed]
        concurrent.futures.wait(either, _CALL_TIMEOUT_S, return_when=concurrent.futures.FIRST_COMPLETED)
        if not future.done():
            raise _NoSnapshotError("the proxy ends, or its event loop is blocked")
        return future.result()


class _SnapshotCollector(Collector):
    def __init__(self, ask_loop: Callable[[], MetricsSnapshot]) -> None:
        self._ask_loop = ask_loop
        self._page = MetricsPage()
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        snapshot = self._ask_loop()
        with self._lock:  # two scrapes at a time
            families = list(self._page.families(snapshot))
        yield from families


def _guard(app: Any) -> Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]:
    """`app`, but without a snapshot the answer is 503 and the reason, and not a traceback on the terminal."""

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            pages: Iterable[bytes] = app(environ, start_response)
        except _NoSnapshotError as error:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{error}\n".encode()]
        except Exception:
            logger.exception("mirror: the metrics cannot be shown.")
            start_response("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"see the proxy's log\n"]
        return pages

    return guarded


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """A scrape every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks DNS for our name, which may take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - theirs
        # Else a client that hangs up leaves a traceback on the terminal.
        logger.debug("mirror: a scrape from %s failed: %r", client_address, sys.exception())


def _listen(host: str, port: int) -> _Server:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    server_class = type("_FamilyServer", (_Server,), {"address_family": family})
    server: _Server = server_class(address[:2], _Handler)
    return server
