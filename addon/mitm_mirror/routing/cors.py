"""Cross-origin requests: preflights that are answered here, and the headers on other answers.

Source throughout: Envoy's source/extensions/filters/http/cors/cors_filter.cc, and istio
pilot/pkg/networking/core/route/route.go, TranslateCORSPolicy; checked against Envoy 1.40.
"""

from dataclasses import dataclass

from mitm_mirror.resources.virtual_service import CorsPolicy, StringMatch, UnmatchedPreflights
from mitm_mirror.routing.decision import HeaderOperations
from mitm_mirror.routing.matchers import MatchError, ValueMatch, compile_string
from mitm_mirror.routing.request import HeaderFields
from mitm_mirror.routing.view import RequestView

_ANY = b"*"


@dataclass(frozen=True, slots=True)
class Cors:
    """A compiled `corsPolicy`. Lists are joined by commas; an empty one leaves its header out."""

    origins: tuple[ValueMatch, ...]
    allow_methods: bytes
    allow_headers: bytes
    expose_headers: bytes
    max_age: bytes
    allow_credentials: bool
    forwards_unmatched: bool
    """Whether a preflight from an origin that is not allowed goes to the destination."""

    def stamp(self, view: RequestView) -> HeaderOperations | None:
        """What the answer to a request from an allowed origin gets; None for all other requests.

        Whatever the destination, or a rule, says in these headers is overwritten.
        """
        origin = _joined(view, b"origin")
        if not origin or not self._allows(origin):
            return None
        return HeaderOperations(set=self._origin_headers(origin) + self._expose_header())

    def preflight(self, view: RequestView, *, allowed: bool) -> HeaderFields | None:
        """The headers of the 200 that a preflight is answered with; None where it is none to answer.

        `allowed` says whether `stamp` gave something.
        """
        method = _joined(view, b"access-control-request-method")
        origin = _joined(view, b"origin")
        if view.head.method != "OPTIONS" or not origin or not method:
            return None
        if not allowed and self.forwards_unmatched:
            return None
        headers = self._origin_headers(origin if allowed else b"")
        if self.allow_methods:
            headers += (
                (
                    b"access-control-allow-methods",
                    method if self.allow_methods == _ANY else self.allow_methods,
                ),
            )
        if self.allow_headers:
            asked = _joined(view, b"access-control-request-headers")
            headers += (
                (
                    b"access-control-allow-headers",
                    asked if self.allow_headers == _ANY else self.allow_headers,
                ),
            )
        if self.max_age:
            headers += ((b"access-control-max-age", self.max_age),)
        return headers + (self._expose_header() if allowed else ())

    def _allows(self, origin: bytes) -> bool:
        # A matcher that takes `*` literally takes everything.
        return any(matches(_ANY) or matches(origin) for matches in self.origins)

    def _origin_headers(self, origin: bytes) -> HeaderFields:
        headers: HeaderFields = ((b"access-control-allow-origin", origin),) if origin else ()
        return headers + (((b"access-control-allow-credentials", b"true"),) if self.allow_credentials else ())

    def _expose_header(self) -> HeaderFields:
        return ((b"access-control-expose-headers", self.expose_headers),) if self.expose_headers else ()


def compile_cors(spec: CorsPolicy) -> Cors:
    """The policy. MatchError says which origin cannot be compiled.

    The deprecated `allowOrigin` counts only where there is no `allowOrigins`.
    """
    origins = spec.allow_origins or tuple(StringMatch(exact=origin) for origin in spec.allow_origin)
    compiled: list[ValueMatch] = []
    for index, origin in enumerate(origins):
        try:
            compiled.append(compile_string((), origin))
        except MatchError as e:
            raise MatchError(("allowOrigins", index, *e.path), str(e)) from e
    return Cors(
        origins=tuple(compiled),
        allow_methods=",".join(spec.allow_methods).encode(),
        allow_headers=",".join(spec.allow_headers).encode(),
        expose_headers=",".join(spec.expose_headers).encode(),
        max_age=b"" if spec.max_age is None else b"%d" % spec.max_age,
        allow_credentials=bool(spec.allow_credentials),
        forwards_unmatched=spec.unmatched_preflights is not UnmatchedPreflights.IGNORE,
    )


def _joined(view: RequestView, name: bytes) -> bytes:
    """A header's value; Envoy joins several lines of it by commas."""
    return b",".join(view.header(name))
