"""A response that a proxy writes itself where the client asked for a destination's."""

from mitm_mirror.routing.decision import HeaderOperations
from mitm_mirror.routing.headers import apply_operations
from mitm_mirror.routing.request import HeaderFields
from mitm_mirror.routing.view import RequestView

_PLAIN_TEXT: HeaderFields = ((b"content-type", b"text/plain"),)
_GRPC = b"application/grpc"
_UNKNOWN = 2
_GRPC_STATUS_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def local_reply(
    view: RequestView,
    status: int,
    message: bytes,
    operations: tuple[HeaderOperations, ...],
    *,
    headers: HeaderFields = (),
    grpc_status: int | None = None,
) -> tuple[int, HeaderFields, bytes]:
    """(status, headers, body) of it: `headers`, the route's response operations on them, and then the
    content type. `message` is the body; its length is left to whoever writes it.

    A gRPC request gets what its client understands: 200, and as headers `grpc_status` (else what
    stands for the HTTP status) and the message, unless it asked by HEAD. `grpc_status` says nothing
    to others.
    Source: Envoy's Utility::prepareLocalReply and Grpc::Utility::httpToGrpcStatus; checked against
    Envoy 1.40.
    """
    for operation in operations:
        headers = apply_operations(headers, operation)
    if not is_grpc(view):
        typed = any(name.lower() == b"content-type" for name, _ in headers)
        return status, headers if typed or not message else headers + _PLAIN_TEXT, message
    code = _GRPC_STATUS_OF_HTTP.get(status, _UNKNOWN) if grpc_status is None else grpc_status
    of_grpc: HeaderFields = ((b"content-type", _GRPC), (b"grpc-status", b"%d" % code))
    if message and view.head.method != "HEAD":
        of_grpc += ((b"grpc-message", _percent_encode(message)),)
    return 200, apply_operations(headers, HeaderOperations(set=of_grpc)), b""


def is_grpc(view: RequestView) -> bool:
    """Whether the client speaks gRPC: `application/grpc` or `application/grpc+proto`, not `grpc-web`.

    Source: Envoy's Grpc::Common::hasGrpcContentType.
    """
    # Lines of one name count as one, joined; so the first line alone does not decide.
    content_type = b",".join(view.header(b"content-type"))
    return content_type == _GRPC or content_type.startswith(_GRPC + b"+")


def _percent_encode(message: bytes) -> bytes:
    """As gRPC writes a message into a header. Source: Envoy's Utility::PercentEncoding::encode, which
    takes `~` for unprintable."""
    return b"".join(
        bytes((byte,)) if 0x20 <= byte < 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in message
    )
