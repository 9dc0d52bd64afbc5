"""Where a redirect sends the client."""

from dataclasses import dataclass

from mitm_mirror.resources.virtual_service import HTTPRedirect, RedirectPortSelection
from mitm_mirror.routing.authority import DEFAULT_PORTS, split_authority
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.rewrite import PathRewrite, prefix_rewrite
from mitm_mirror.text import encode


@dataclass(frozen=True, slots=True)
class Redirect:
    """A compiled `redirect`."""

    status: int
    scheme: str
    authority: str
    port: int | None
    """None keeps what Host says; 0 stands for the port that the request came in on."""
    uri: bytes
    prefix: PathRewrite | None

    def location(self, head: RequestHead, prefix_length: int | None) -> bytes:
        """The value of `Location`: always absolute, as Envoy writes it.

        Host's port stays unless the rule names another, or the scheme changes and the port is the
        old scheme's default. The query stays unless `uri` brings its own.
        Source: Envoy's Utility::newUri and processRequestHost in source/common/http/utility.cc.
        """
        scheme = self.scheme or head.scheme
        port = self._port(head, scheme)
        host = self.authority
        if not host:
            host, host_port = split_authority(head.authority)
            default = host_port == f":{DEFAULT_PORTS.get(head.scheme)}"
            if not port and not (default and scheme != head.scheme):
                host += host_port
        return encode(f"{scheme}://{host}{port}") + self._path(head.target, prefix_length)

    def _port(self, head: RequestHead, scheme: str) -> str:
        port = head.port if self.port == 0 else self.port
        return "" if port is None or port == DEFAULT_PORTS.get(scheme) else f":{port}"

    def _path(self, target: bytes, prefix_length: int | None) -> bytes:
        if self.prefix is not None:
            target = self.prefix(target, prefix_length)
        elif self.uri:
            query = target.find(b"?")
            target = self.uri if b"?" in self.uri or query < 0 else self.uri + target[query:]
        return target if target.startswith(b"/") else b"/" + target


def compile_redirect(spec: HTTPRedirect) -> Redirect:
    """The redirect that the rule asks for; `prefixRewrite` goes before `uri`, no code means 301.

    Source: istio pilot/pkg/networking/core/route/route.go, ApplyRedirect.
    """
    port = spec.port
    if spec.derive_port is RedirectPortSelection.FROM_REQUEST_PORT:
        port = 0
    return Redirect(
        status=spec.redirect_code or 301,
        scheme=spec.scheme,
        authority=spec.authority,
        port=port,
        uri=spec.uri.encode(),
        prefix=prefix_rewrite(spec.prefix_rewrite) if spec.prefix_rewrite else None,
    )
