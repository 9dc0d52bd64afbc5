"""What a rule says about how one shadow is sent. Values only."""

import msgspec

from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.shadow.answer import Want


class Terms(msgspec.Struct, frozen=True, gc=False):
    """Beside the request itself."""

    timeout_s: float
    """From `submit`, or from the end of an upload's body, until it is given up."""
    destination: str = ""
    """What slots and memory are shared out by: a cluster name."""
    limits: PoolLimits | None = None
    outlier: OutlierPolicy | None = None
    want: Want | None = None
    """What is kept of the answer, for `Ending.result.answer`; None: nothing, which costs nothing."""
