"""Whether anybody is there to look at shadows: what `auto` means for `mirror_flows` and `mirror_compare`."""

from mitmproxy import ctx

_FILES = ("save_stream_file", "hardump")


def is_wanted(choice: str) -> bool:
    """What `auto`, `on` or `off` means now; `auto` may mean something else later."""
    return has_audience() if choice == "auto" else choice == "on"


def has_audience() -> bool:
    """True with a UI's view, or where flows are saved to a flow file or a HAR file."""
    if ctx.master.addons.get("view") is not None:
        return True
    return any(option in ctx.options and getattr(ctx.options, option) for option in _FILES)
