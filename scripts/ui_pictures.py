"""Takes the pictures of docs/inspect.md from mitmproxy's real UIs.

Needs Chromium and tmux on PATH. Run it with the python of an environment that has mitmproxy.
"""

import tempfile
from pathlib import Path

from lab.mitmdump import ROOT
from lab.ui import show_console, show_web, task_scene


def main() -> None:
    """Writes four PNGs into docs/pictures/."""
    pictures = ROOT / "docs" / "pictures"
    pictures.mkdir(exist_ok=True)
    for show in (show_console, show_web):
        with tempfile.TemporaryDirectory() as folder, task_scene(Path(folder)) as scene:
            show(scene, pictures)
    for picture in sorted(pictures.glob("*.png")):
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size} bytes")


if __name__ == "__main__":
    main()
