"""TLS contexts by their settings, for the mitmproxy's TLS library and for the client's."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

from mitm_mirror.upstream_tls import UpstreamTls

_MAX_CONTEXTS = 256
"""Far more than one rule set has; bounds what reloads with ever new files can pile up."""

Context = TypeVar("Context")


class TlsContexts(Generic[Context]):
    """The TLS context of each setting: built once, and again after one of its files was replaced.

    Certificates are rotated far more often than rules are changed, and a rotation changes no rule.
    """

    def __init__(self, build: Callable[[UpstreamTls], Context]) -> None:
        self._build = build
        self._built: dict[UpstreamTls, tuple[tuple[tuple[int, ...], ...], Context]] = {}

    def get(self, tls: UpstreamTls) -> Context:
        """The context to connect with now. Raises OSError where a file is gone, and what `build` does."""
        stamps = tuple(_stamp(file) for file in tls.files)
        known = self._built.get(tls)
        if known is not None and known[0] == stamps:
            return known[1]
        context = self._build(tls)
        if len(self._built) >= _MAX_CONTEXTS:
            self._built.clear()
        self._built[tls] = (stamps, context)
        return context


def _stamp(file: str) -> tuple[int, ...]:
    status = os.stat(file)  # noqa: PTH116 - once a connection, and a Path costs more than the call
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
