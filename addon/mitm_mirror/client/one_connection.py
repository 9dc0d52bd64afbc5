"""httpx's transport with one connection, for one request at a time.

httpx's own has a pool, which looks through its connections and requests when a request comes and when it has
its answer: a sixth of what a shadow costs its worker, for nothing, as each transport has one connection (see
`IdleSlots`).
"""

import ssl

import httpcore
import httpx


class OneConnection(httpcore.AsyncConnectionPool):
    """A pool of one connection at most, to one server. One request at a time: its caller sees to that."""

    def __init__(self, ssl_context: ssl.SSLContext, *, http1: bool, http2: bool, uds: str | None) -> None:
        super().__init__(ssl_context=ssl_context, http1=http1, http2=http2, uds=uds)
        self._only: httpcore.AsyncConnectionInterface | None = None

    @property
    def connections(self) -> list[httpcore.AsyncConnectionInterface]:
        return [] if self._only is None else [self._only]

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Sends it at most once: over the connection that there is, unless its server has closed that."""
        while True:
            connection = self._only
            if connection is not None and (not connection.is_available() or connection.has_expired()):
                await self.aclose()
                connection = None
            if connection is None:
                connection = self._only = self.create_connection(request.url.origin)
            try:
                return await connection.handle_async_request(request)
            except httpcore.ConnectionNotAvailable:
                # HTTP/2: the server has said goodbye, and that it did not take this one.
                await self.aclose()

    async def aclose(self) -> None:
        connection, self._only = self._only, None
        if connection is not None:
            await connection.aclose()


class OneConnectionTransport(httpx.AsyncHTTPTransport):
    """What httpx's transport does beside its pool: its requests, answers and exceptions are httpx's."""

    def __init__(self, ssl_context: ssl.SSLContext, *, http1: bool, http2: bool, uds: str | None) -> None:
        # Not httpx's, which makes its pool there. That there is no other place to say which pool is meant,
        # and no other state, is seen by every test that sends a request.
        self._pool = OneConnection(ssl_context, http1=http1, http2=http2, uds=uds)
