"""Flows that wait for the connection to their server."""

from mitmproxy import connection, http


class WaitingFlows(dict[str, dict[http.HTTPFlow, connection.Server]]):
    """By client connection; with what stood for the server at first: another one is the real one."""

    def add(self, client_id: str, flow: http.HTTPFlow) -> None:
        """It waits from now on."""
        self.setdefault(client_id, {})[flow] = flow.server_conn

    def forget(self, client_id: str, flow: http.HTTPFlow) -> None:
        """It waits no longer; nothing where it does not."""
        waiting = self.get(client_id)
        if waiting is not None:
            waiting.pop(flow, None)
            if not waiting:
                del self[client_id]

    def unsent(self, client_id: str) -> list[http.HTTPFlow]:
        """Those that have no server yet."""
        return [flow for flow, first in self.get(client_id, {}).items() if flow.server_conn is first]
