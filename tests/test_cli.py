"""The console command, run as its users run it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mitm_mirror
from mitm_mirror import cli, rule_set

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
        GOOD.replace("host: a}", "host: a, exportTo: [b]}") + "---\napiVersion: v1\nkind: Service\n"
    )

    rule = "DestinationRule default/a: spec.exportTo"
    seen = "this proxy is of namespace default (mirror_namespace)"
    exported = f"{rule}: warning: exported to b, {seen}: not used here"
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
    "arguments",
    [[], ["check"], ["chekc", "x"], ["explain"], ["export", "nginx", "x"]],
    ids=["nothing", "no path", "unknown command", "no URL", "unknown target"],
)
def test_usage_errors_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(arguments)

    assert "usage: mitm-mirror" in capsys.readouterr().err


def test_export_prints_a_bootstrap_and_names_what_envoy_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
        "spec: {hosts: [x], http: [{directResponse: {status: 200}}]}\n---\n"
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n"
        "spec: {host: x, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}\n"
    )

    status = cli.main(["export", "envoy", str(file), "--port", "15001"])

    out, err = capsys.readouterr()
    (listener,) = yaml.safe_load(out)["static_resources"]["listeners"]
    assert status == 0
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 15001}
    message = "ISTIO_MUTUAL needs a mesh's certificates: exported as if there were no tls"
    assert err.splitlines()[-1] == f"mitm-mirror export: {file}:9: default/r: tls.mode: {message}"


def test_export_of_rules_with_errors_prints_them_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD.replace("host: a", "host: 5"))

    status = cli.main(["export", "envoy", str(file)])

    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    assert "spec.host: 5, expected a string" in err


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_export_to_no_port_is_a_usage_error(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["export", "envoy", "rules", "--port", port])

    assert f"{port}: expected a port, 1 to 65535" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--version"])

    assert capsys.readouterr().out == f"mitm-mirror {mitm_mirror.__version__}\n"


def test_addon_names_the_script_for_mitmdump(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["addon"]) == 0

    assert Path(capsys.readouterr().out.rstrip("\n")).is_file()


ROUTED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - match: [{method: {exact: PUT}, headers: {x-user: {exact: jane}}}]
    directResponse: {status: 204}
"""


def explain(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> tuple[int, list[str], str]:
    status = cli.main(["explain", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.strip()


def test_explain_says_what_rules_do_with_a_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text(ROUTED)
    other.write_text(GOOD)

    assert explain(
        capsys,
        "--rules",
        file,
        "http://10.0.0.1:81/x?y",
        "--rules",
        other,
        *("-X", "PUT", "-H", "Host: A:82", "-H", "X-User: jane"),
    ) == (
        0,
        [
            "PUT http://A:82/x?y",
            "",
            f"VirtualService default/a ({file}:3)",
            "  by its host a",
            f"  http[0] ({file}:7) decides",
            '    match[0] is met: method exact "PUT", header x-user exact "jane"',
            "",
            "Answered 204 here: a direct response. Nothing is sent, nothing is mirrored.",
        ],
        "",
    )


@pytest.mark.parametrize(
    ("url", "line"),
    [
        pytest.param(
            "http://a/", "Answered 404 here: no route of the VirtualService matches.", id="no route matches"
        ),
        pytest.param("http://b/", 'No VirtualService is about host "b"', id="no rule is about the host"),
    ],
)
def test_explain_exits_0_whatever_the_rules_say(
    url: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(ROUTED)

    status, lines, err = explain(capsys, "--rules", tmp_path, url)

    assert (status, err) == (0, "")
    assert any(shown.startswith(line) for shown in lines)


def test_explain_uses_the_default_rules_of_the_addon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(ROUTED)
    monkeypatch.setattr(rule_set, "default_rules", lambda: str(file))

    status, lines, _ = explain(capsys, "http://a/")

    assert status == 0
    assert f"VirtualService default/a ({file}:3)" in lines


def test_explain_prints_errors_of_rules_as_check_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD.replace("host: a", "host: 5"))

    checked = check(capsys, file)

    assert checked[0] == 1
    assert explain(capsys, "--rules", file, "http://a/") == checked


def test_what_the_proxy_plays_is_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: prod}
spec:
  hosts: [a.test]
  gateways: [gw]
  exportTo: [.]
  http:
  - {match: [{sourceLabels: {app: web}}], directResponse: {status: 201}}
  - {match: [{sourceLabels: {app: sleep}}], directResponse: {status: 202}}
""")
    played = ["--gateway", "other/gw", "--gateway", "gw", "--namespace", "prod", "--labels", "app=sleep,x=1"]

    assert "passes through" in explain(capsys, "--rules", file, "http://a.test/")[1][-2]
    lines = explain(capsys, "--rules", file, *played, "http://a.test/")[1]
    assert (
        "    match[0]: sourceLabels: never met, it is for app=web, this proxy's labels: app=sleep,x=1"
        in lines
    )
    assert any(line.startswith("Answered 202 here") for line in lines)
    assert [line.partition("spec.")[2] for line in check(capsys, *played, file)[1]] == [
        (
            "http[0].match[0].sourceLabels: notice: this match is never met: it is for app=web, "
            "this proxy's labels: app=sleep,x=1"
        )
    ]
    assert cli.main(["export", "envoy", *played, str(file)]) == 0
    assert "status: 202" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--gateway", "a/b/c", "--gateway: 'a/b/c', expected mesh, NAME or NAMESPACE/NAME"),
        ("--namespace", "A", "--namespace: 'A', expected a namespace such as default"),
        ("--labels", "a", "--labels: 'a', expected NAME=VALUE, several with commas between"),
    ],
)
def test_what_no_proxy_plays_exits_2(
    option: str, value: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)

    assert check(capsys, option, value, tmp_path) == (2, [], f"mitm-mirror check: {message}")


def test_explain_points_to_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("host: a}", "host: a, exportTo: [x]}"))

    status, _, err = explain(capsys, "--rules", tmp_path, "http://a/")

    assert (status, err) == (0, "1 warning, see mitm-mirror check")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["httpbin:8080/get"], "such as http://httpbin:8080/get", id="no scheme"),
        pytest.param(["http://a:b/"], "expected a port", id="port"),
        pytest.param(["http://a/", "-H", "x"], "expected 'name: value'", id="header"),
        pytest.param(["http://a/", "--rules", "nix.yaml"], "nix.yaml: no such file or folder", id="rules"),
    ],
)
def test_explain_exits_2_for_wrong_usage(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)

    status, lines, err = explain(capsys, "--rules", tmp_path, *arguments)

    assert (status, lines) == (2, [])
    assert err.startswith("mitm-mirror explain: ")
    assert message in err


@pytest.mark.parametrize(
    "arguments", [["check", "{}"], ["explain", "--rules", "{}", "http://a/"]], ids=["check", "explain"]
)
def test_module_is_the_command_and_imports_neither_mitmproxy_nor_httpx(
    arguments: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD)
    code = (
        "import runpy, sys\n"
        f"sys.argv = {['mitm-mirror', *(argument.format(file) for argument in arguments)]!r}\n"
        "try:\n    runpy.run_module('mitm_mirror', run_name='__main__')\n"
        "except SystemExit as e:\n    print(e.code)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'mitmproxy', 'httpx'}))\n"
    )

    done = run("-c", code)

    assert done.stdout.endswith("0\n[]\n"), done.stderr


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
