"""The names by which mitmproxy finds the addon in the script."""

from mitmproxy import addonmanager, hooks

from mitm_mirror import script
from mitm_mirror.proxy.addon import MirrorAddon


def test_the_script_has_the_hooks_of_the_addon_and_nothing_below_it() -> None:
    found = {hook for hook in hooks.all_hooks if vars(script)[hook] is not None}

    assert found == {hook for hook in hooks.all_hooks if hasattr(MirrorAddon, hook)}
    assert {"load", "configure", "running", "done", "requestheaders", "update"} <= found
    assert all(vars(script)[hook].__self__ is script.addon for hook in found)
    assert list(addonmanager.traverse([script])) == [script]
    assert script.name == "mirror"
