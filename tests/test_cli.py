"""The console command, run as its users run it."""

import subprocess
import sys
from pathlib import Path

import pytest

import mitm_mirror
from mitm_mirror import cli

GOOD = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a}
"""


def check(capsys: pytest.CaptureFixture[str], *paths: Path | str) -> tuple[int, list[str], str]:
    status = cli.main(["check", *map(str, paths)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.strip()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(mitm_mirror.__file__).parents[1])
    return subprocess.run(
        [sys.executable, *arguments],
        env={"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_valid_rules_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)

    assert check(capsys, tmp_path) == (0, [], "1 file: 0 errors, 0 warnings")


def test_warnings_and_notices_say_so_and_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        GOOD.replace("host: a}", "host: a, exportTo: [.]}") + "---\napiVersion: v1\nkind: Service\n"
    )

    rule = "DestinationRule default/a: spec.exportTo"
    exported = f"{rule}: warning: not acted on: the rule is seen by every namespace"
    assert check(capsys, file) == (
        0,
        [
            f"{file}:4:17: {exported}",
            f"{file}:7:1: kind: notice: Service (v1) is passed over",
        ],
        "1 file: 0 errors, 1 warning",
    )


def test_errors_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD.replace("host: a", "host: 5"))

    assert check(capsys, file) == (
        1,
        [f"{file}:4:8: DestinationRule default/a: spec.host: 5, expected a string; write it in quotes"],
        "1 file: 1 error, 0 warnings",
    )


def test_what_only_compiling_finds_is_reported_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    rule = head + "metadata: {name: %s}\nspec: {hosts: [x], http: %s}\n"
    routes = "[{route: [{destination: {host: nowhere}}]}]"
    file.write_text(
        rule % ("a", routes) + "---\n" + rule % ("b", routes) + "---\napiVersion: v1\nkind: Service\n"
    )

    status, lines, _ = check(capsys, file)

    places = [int(line.removeprefix(f"{file}:").split(":")[0]) for line in lines]
    assert status == 0
    assert len(lines) > 1
    assert places == sorted(places)
    assert any("nowhere" in line and ": warning: " in line for line in lines)


def test_path_that_names_nothing_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    missing = tmp_path / "nix.yaml"

    assert check(capsys, tmp_path, missing) == (
        2,
        [],
        f"mitm-mirror check: {missing}: no such file or folder",
    )


@pytest.mark.parametrize(
    "arguments", [[], ["check"], ["chekc", "x"]], ids=["nothing", "no path", "unknown command"]
)
def test_usage_errors_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(arguments)

    assert "usage: mitm-mirror" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--version"])

    assert capsys.readouterr().out == f"mitm-mirror {mitm_mirror.__version__}\n"


def test_addon_names_the_script_for_mitmdump(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["addon"]) == 0

    assert Path(capsys.readouterr().out.rstrip("\n")).is_file()


def test_module_is_the_command_and_imports_neither_mitmproxy_nor_httpx(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD)
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['mitm-mirror', 'check', {str(file)!r}]\n"
        "try:\n    runpy.run_module('mitm_mirror', run_name='__main__')\n"
        "except SystemExit as e:\n    print(e.code)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'mitmproxy', 'httpx'}))\n"
    )

    done = run("-c", code)

    assert done.stdout == "0\n[]\n"


def test_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("---\nx: 1\n" * 5_000)
    code = (
        "import os, subprocess, sys\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        f"done = subprocess.run([sys.executable, '-m', 'mitm_mirror', 'check', {str(tmp_path)!r}],"
        " stdout=write, stderr=subprocess.PIPE)\n"
        "print(done.returncode, done.stderr)\n"
    )

    assert run("-c", code).stdout == "1 b''\n"
