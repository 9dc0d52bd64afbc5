"""Rule files for a service `httpbin` in two versions, and putting them in place."""

import os
from pathlib import Path

from lab.mitmdump import ROOT

HOST = "httpbin:8080"
SHADOW_HOST = "httpbin-shadow:8080"

ALL_TO_V1 = ROOT / "rules" / "examples" / "01-all-to-v1.yaml"
MIRROR_TO_V2 = ROOT / "rules" / "httpbin.yaml"
ENDPOINTS = ROOT / "rules" / "httpbin-endpoints.yaml"


def endpoints_text(v1_port: int, v2_port: int) -> str:
    """The ServiceEntry of `rules/` with the given ports in the place of its own."""
    text = ENDPOINTS.read_text(encoding="utf-8")
    for written, port in (("http: 8001", v1_port), ("http: 8002", v2_port)):
        if text.count(written) != 1:
            raise ValueError(f"{ENDPOINTS}: expected {written!r} once")
        text = text.replace(written, f"http: {port}")
    return text


def make_task_rules(folder: Path, v1_port: int, v2_port: int) -> Path:
    """Makes `folder`, with the task's final rules in it and endpoints at the given ports; returns it."""
    folder.mkdir()
    write_atomically(folder / "httpbin.yaml", MIRROR_TO_V2.read_text(encoding="utf-8"))
    write_atomically(folder / "httpbin-endpoints.yaml", endpoints_text(v1_port, v2_port))
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Put a file in place in one step: whoever reads it sees the old text or the new, never a part."""
    # Hidden and with another ending, so that a folder of rules does not read it.
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)  # noqa: PTH105 - as Path.replace, but says what it is
