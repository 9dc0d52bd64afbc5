"""The hooks of mitm-mirror in the same places of the chain, with nothing in them: what mitmproxy takes for
asking two addons, one of them at its end, and for calling their hooks."""

import sys
from pathlib import Path

from mitmproxy import ctx, hooks

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "addon"))

from mitm_mirror.proxy.addon import MirrorAddon
from mitm_mirror.proxy.tail import MirrorTail

_LIFECYCLE = frozenset({"load", "configure", "running", "done"})


def _nothing(_self: object, _data: object) -> None:
    return None


def _empty(addon: type) -> type:
    """A class with as many hooks, for the events of connections and requests."""
    names = {name for name in hooks.all_hooks if hasattr(addon, name)} - _LIFECYCLE
    return type(f"Empty{addon.__name__}", (), dict.fromkeys(names, _nothing))


class Head(_empty(MirrorAddon)):  # type: ignore[misc]
    def running(self) -> None:
        ctx.master.addons.add(_empty(MirrorTail)())


addons = [Head()]
