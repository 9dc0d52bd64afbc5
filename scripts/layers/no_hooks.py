"""A script without a hook: what mitmproxy takes for asking it at each event."""


class NoHooks:
    pass


addons = [NoHooks()]
