"""Istio's mirroring task itself, with real httpbin under gunicorn."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.httpbin import PYTHON_VARIABLE, httpbin_python
from lab.mitmdump import ROOT, child_environment


@pytest.mark.parametrize("with_curl", [True, False], ids=["with curl", "without curl"])
def test_the_demo_does_what_it_says_and_leaves_nothing_behind(tmp_path: Path, with_curl: bool) -> None:
    if httpbin_python() is None:
        pytest.skip(f"{PYTHON_VARIABLE} does not name a python with httpbin; scripts/test sets it")
    if with_curl and shutil.which("curl") is None:
        pytest.skip("curl is not on PATH")
    extra = {"TMPDIR": str(tmp_path)} if with_curl else {"TMPDIR": str(tmp_path), "PATH": str(tmp_path)}
    demo = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py")],
        env=child_environment(extra),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert ("$ curl" in demo.stdout) == with_curl
    assert "\x1b" not in demo.stdout, "colours, but the output is no terminal"
    assert "v2 saw Host httpbin-shadow:8080" in demo.stdout
    assert demo.stderr == ""
    assert list(tmp_path.iterdir()) == []
