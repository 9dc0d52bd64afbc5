"""What mitmproxy loads where the package is installed: `mitmdump -s "$(mitm-mirror addon)"`."""

from mitm_mirror.proxy.addon import MirrorAddon

addons = [MirrorAddon()]
