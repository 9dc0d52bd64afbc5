"""What mitmproxy loads: `mitmdump -s addon/addon.py`."""

import sys
from pathlib import Path

# A script's folder is on sys.path only while the script loads; we import lazily later on too.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from mitm_mirror.script import addon, script_names  # noqa: F401  (needs the path above; who looks us up finds `addon`)

globals().update(script_names)
