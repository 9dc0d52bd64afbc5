"""A response that a proxy writes itself where the client asked for a destination's."""

from mitm_mirror.routing.decision import HeaderOperations
from mitm_mirror.routing.headers import apply_operations
from mitm_mirror.routing.request import HeaderFields
from mitm_mirror.routing.view import RequestView

PLAIN_TEXT: HeaderFields = ((b"content-type", b"text/plain"),)
_GRPC = b"application/grpc"
_UNKNOWN = 2
_GRPC_STATUS_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def local_reply(
    view: RequestView,
    status: int,
    message: bytes,
    operations: tuple[HeaderOperations, ...],
    grpc_status: int | None = None,
) -> tuple[int, HeaderFields, bytes]:
    """(status, headers, body) of it: the route's response operations, and then the content type.

    A gRPC request gets what its client understands: 200, and as headers `grpc_status` (else what
    stands for the HTTP status) and the message. `grpc_status` says nothing to others.
    Source: Envoy's Utility::prepareLocalReply and Grpc::Utility::httpToGrpcStatus; checked against
    Envoy 1.40.
    """
    headers: HeaderFields = ()
    for operation in operations:
        headers = apply_operations(headers, operation)
    if not is_grpc(view):
        return status, with_text_type(headers), message
    code = _GRPC_STATUS_OF_HTTP.get(status, _UNKNOWN) if grpc_status is None else grpc_status
    of_grpc = ((b"content-type", _GRPC), (b"grpc-status", b"%d" % code), (b"grpc-message", message))
    return 200, apply_operations(headers, HeaderOperations(set=of_grpc)), b""


def is_grpc(view: RequestView) -> bool:
    """Whether the client speaks gRPC: `application/grpc` or `application/grpc+proto`, not `grpc-web`.

    Source: Envoy's Grpc::Common::hasGrpcContentType.
    """
    # Lines of one name count as one, joined; so the first line alone does not decide.
    content_type = b",".join(view.header(b"content-type"))
    return content_type == _GRPC or content_type.startswith(_GRPC + b"+")


def with_text_type(headers: HeaderFields) -> HeaderFields:
    """The header lines with a content type for plain text, unless they have one."""
    return headers if any(name.lower() == b"content-type" for name, _ in headers) else headers + PLAIN_TEXT
