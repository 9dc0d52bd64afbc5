"""The hooks of mitm-mirror in the same place of the chain, with nothing in them: what mitmproxy takes for
asking one more addon, and for calling its hooks."""

import sys
from pathlib import Path

from mitmproxy import hooks

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "addon"))

from mitm_mirror.proxy.addon import MirrorAddon

_LIFECYCLE = frozenset({"load", "configure", "running", "done"})


def _nothing(_self: object, _data: object) -> None:
    return None


_HOOKS = {name for name in hooks.all_hooks if hasattr(MirrorAddon, name)} - _LIFECYCLE
"""Those of connections and requests."""

addons = [type("EmptyAddon", (), dict.fromkeys(_HOOKS, _nothing))()]
