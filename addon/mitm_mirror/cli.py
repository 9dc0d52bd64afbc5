"""The console command `mitm-mirror`, which equals `python -m mitm_mirror`.

It imports nothing before it knows what is asked, and only `replay` needs mitmproxy and httpx: a check of
one small file answers in under half a second.
"""
# ruff: noqa: T201, PLC0415 - it prints by trade, and imports what a command needs when it is asked for

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mitm_mirror import __version__

if TYPE_CHECKING:
    from mitm_mirror.rule_set import RuleSet

EXIT_OK = 0
EXIT_ERRORS = 1
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line (without the program's name) and returns the exit status."""
    try:
        status = _run(_parser().parse_args(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has seen enough. What is buffered would fail again when Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_ERRORS
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mitm-mirror", description="Istio's routing and mirroring for mitmproxy."
    )
    parser.add_argument("--version", action="version", version=f"mitm-mirror {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="say what is wrong with rules",
        description="Prints file:line:column: path: message for each issue. "
        "Exit status: 0 valid (warnings allowed), 1 errors, 2 usage.",
    )
    check.add_argument("paths", nargs="+", metavar="PATH", help="file, folder (its *.yaml and *.yml) or glob")
    _add_vantage(check)
    explain = commands.add_parser(
        "explain",
        help="say what rules do with a request, and why",
        description="Prints which document and line decide, the destinations, endpoints and mirrors with "
        "their shares, and why each earlier route does not match. Nothing is sent. "
        "Exit status: 0 explained, 1 the rules have errors, 2 usage.",
    )
    explain.add_argument("url", metavar="URL", help="as a client asks for it: http://httpbin:8080/get?x=1")
    explain.add_argument(
        "--rules",
        action="append",
        metavar="PATH",
        help="file, folder or glob; several times for several; default: those of the addon",
    )
    explain.add_argument("-X", "--request", default="GET", metavar="METHOD", help="default: GET")
    explain.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="several times for several; Host takes the place of the URL's",
    )
    explain.add_argument(
        "--client", default="", metavar="ADDRESS", help="the client's, for mitm-mirror/sample-by: client"
    )
    _add_vantage(explain)
    _add_report(commands)
    _add_replay(commands)
    export = commands.add_parser("export", help="translate rules for another proxy")
    targets = export.add_subparsers(dest="target", required=True, metavar="PROXY")
    envoy = targets.add_parser(
        "envoy",
        help="print a static Envoy bootstrap",
        description="Prints a static Envoy bootstrap (YAML) that routes and mirrors as the rules say. What "
        "Envoy cannot do is named on standard error. Exit status: 0 printed, 1 errors in the rules, 2 usage.",
    )
    envoy.add_argument(
        "paths", nargs="+", metavar="RULES", help="file, folder (its *.yaml and *.yml) or glob"
    )
    envoy.add_argument("--address", default="127.0.0.1", help="where Envoy listens (default: %(default)s)")
    envoy.add_argument(
        "--port", type=_port, default=8080, help="port that it listens on (default: %(default)s)"
    )
    envoy.add_argument(
        "--host-suffix",
        default="-shadow",
        metavar="SUFFIX",
        help="as the option mirror_host_suffix; write --host-suffix= to leave the shadows' Host as it is",
    )
    _add_vantage(envoy)
    commands.add_parser(
        "addon",
        help="print the path of the script for mitmdump -s",
        description='Prints the path of the addon script: mitmdump -s "$(mitm-mirror addon)"',
    )
    return parser


def _add_report(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    report = commands.add_parser(
        "report",
        help="make a page out of access logs",
        description="Makes one HTML page out of access logs (mirror_access_log_format=json, gzipped or not, "
        "of one proxy or several). Exit status: 0 written and every gate passed, 1 a gate was hit, 2 usage.",
    )
    report.add_argument("logs", nargs="+", metavar="LOG")
    _add_report_options(report)


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where the page goes, - for standard output (default: report.html; with --json none)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="GATE",
        help="such as 'mismatch>0.1%%', 'timeout>=10', 'p99_ratio>1.5', 'shadows<1000'; "
        "several times for several",
    )


def _add_replay(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    replay = commands.add_parser(
        "replay",
        help="send recorded requests through rules, and make a page of what came of it",
        description="Sends the requests of flow files (mitmdump -w) or HAR files through the rules, mirrors "
        "and compares them, and makes the report. Requests that no rule is about are not sent. Exit status: "
        "0 every gate passed, 1 a gate was hit (without --fail-on: answers differ), 2 it could not be done.",
    )
    replay.add_argument("recordings", nargs="+", metavar="FILE")
    replay.add_argument(
        "--rules",
        action="append",
        required=True,
        metavar="PATH",
        help="file, folder or glob; several times for several",
    )
    pace = replay.add_mutually_exclusive_group()
    pace.add_argument(
        "--speed",
        default="1x",
        metavar="FACTOR",
        help="times as fast as recorded: 2x, 0.5x, or max to wait for nothing (default: %(default)s)",
    )
    pace.add_argument("--rps", metavar="N", help="requests a second, in the place of the recorded times")
    replay.add_argument("--log", metavar="FILE", help="keep the access log (JSON) here")
    replay.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of mitmproxy or of the addon, such as mirror_timeout=5; several times for several",
    )
    _add_report_options(replay)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "addon":
        print(Path(__file__).with_name("script.py"))
        return EXIT_OK
    if arguments.command == "explain":
        return _explain(arguments)
    if arguments.command == "report":
        return _report(arguments)
    if arguments.command == "replay":
        return _replay(arguments)
    if arguments.command == "export":
        return _export_envoy(arguments)
    return _check(arguments)


def _check(arguments: argparse.Namespace) -> int:
    rule_set = _load(arguments, arguments.paths)
    if rule_set is None:
        return EXIT_USAGE
    _print_issues(rule_set)
    return EXIT_ERRORS if rule_set.errors else EXIT_OK


def _explain(arguments: argparse.Namespace) -> int:
    from mitm_mirror.imagined import imagine_request
    from mitm_mirror.routing.explain import explain
    from mitm_mirror.routing.explain_text import render_explanation
    from mitm_mirror.rule_set import default_rules

    try:
        head = imagine_request(
            arguments.url, method=arguments.request, headers=arguments.header, client=arguments.client
        )
    except ValueError as error:
        print(f"mitm-mirror explain: {error}", file=sys.stderr)
        return EXIT_USAGE
    rule_set = _load(arguments, arguments.rules or [default_rules()])
    if rule_set is None:
        return EXIT_USAGE
    if rule_set.errors:
        _print_issues(rule_set)
        return EXIT_ERRORS
    if warnings := _count_warnings(rule_set):
        print(f"{warnings}, see mitm-mirror check", file=sys.stderr)
    print(render_explanation(explain(rule_set.table, head)))
    return EXIT_OK


def _add_vantage(parser: argparse.ArgumentParser) -> None:
    """The options mirror_gateways, mirror_namespace and mirror_labels."""
    parser.add_argument(
        "--gateway",
        action="append",
        default=[],
        metavar="NAME",
        help="gateway that the proxy plays: NAME or NAMESPACE/NAME; several times for several; default: mesh",
    )
    parser.add_argument("--namespace", default="default", help="the proxy's own (default: %(default)s)")
    parser.add_argument(
        "--labels", default="", metavar="NAME=VALUE,...", help="the proxy's own; default: none"
    )


def _load(
    arguments: argparse.Namespace, paths: Sequence[str], *, host_suffix: str = "-shadow"
) -> "RuleSet | None":
    """The rules, errors included; None, with a message, where a path or an option is none."""
    # Imported here: the other commands answer without the models' half a tenth of a second.
    from mitm_mirror.resources.files import find_files
    from mitm_mirror.resources.issue import Severity
    from mitm_mirror.routing.vantage import VantageError, parse_vantage
    from mitm_mirror.rule_set import load_rule_set

    command = f"mitm-mirror {arguments.command}"
    try:
        vantage = parse_vantage(arguments.gateway, arguments.namespace, arguments.labels)
    except VantageError as error:
        option = {"gateways": "--gateway"}.get(error.part, f"--{error.part}")
        print(f"{command}: {option}: {error}", file=sys.stderr)
        return None
    missing = [
        issue
        for issue in find_files(paths, missing=Severity.WARNING)[1]
        if issue.severity is Severity.WARNING
    ]
    for issue in missing:
        print(f"{command}: {issue.file}: {issue.message}", file=sys.stderr)
    return None if missing else load_rule_set(paths, host_suffix=host_suffix, vantage=vantage)


def _print_issues(rule_set: "RuleSet") -> None:
    from mitm_mirror.rule_set import counted

    for issue in rule_set.issues:
        print(issue)
    files, errors = counted("file", len(rule_set.files)), counted("error", len(rule_set.errors))
    print(f"{files}: {errors}, {_count_warnings(rule_set) or '0 warnings'}", file=sys.stderr)


def _count_warnings(rule_set: "RuleSet") -> str:
    """`2 warnings`; empty where there is none."""
    from mitm_mirror.resources.issue import Severity
    from mitm_mirror.rule_set import counted

    count = sum(issue.severity is Severity.WARNING for issue in rule_set.issues)
    return counted("warning", count) if count else ""


def _export_envoy(arguments: argparse.Namespace) -> int:
    from mitm_mirror.export.envoy import export_envoy

    rule_set = _load(arguments, arguments.paths, host_suffix=arguments.host_suffix)
    if rule_set is None:
        return EXIT_USAGE
    for issue in rule_set.issues:
        print(issue, file=sys.stderr)
    if rule_set.errors:
        return EXIT_ERRORS
    export = export_envoy(
        rule_set.table,
        rule_set.resources,
        address=arguments.address,
        port=arguments.port,
        host_suffix=arguments.host_suffix,
    )
    for warning in export.warnings:
        print(f"mitm-mirror export: {warning}", file=sys.stderr)
    print(f"# {rule_set.summary}, by mitm-mirror {__version__}")
    print(export.text, end="")
    return EXIT_OK


def _report(arguments: argparse.Namespace) -> int:
    from mitm_mirror.observe.report.command import ReportOptions, UsageError, run_report

    options = ReportOptions(arguments.logs, arguments.output, arguments.json, arguments.fail_on)
    try:
        passed = run_report(options)
    except UsageError as error:
        print(f"mitm-mirror report: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK if passed else EXIT_ERRORS


def _replay(arguments: argparse.Namespace) -> int:
    from mitm_mirror.observe.report.command import UsageError
    from mitm_mirror.proxy.playback.command import ReplayOptions, run_replay
    from mitm_mirror.proxy.playback.pace import parse_rate, parse_speed

    try:
        pace = parse_speed(arguments.speed) if arguments.rps is None else parse_rate(arguments.rps)
    except ValueError as error:
        option = "--speed" if arguments.rps is None else "--rps"
        print(f"mitm-mirror replay: {option} {error}", file=sys.stderr)
        return EXIT_USAGE
    options = ReplayOptions(
        arguments.recordings,
        arguments.rules,
        pace,
        arguments.output,
        arguments.json,
        arguments.fail_on,
        arguments.log,
        arguments.set,
    )
    try:
        passed = run_replay(options)
    except UsageError as error:
        print(f"mitm-mirror replay: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK if passed else EXIT_ERRORS


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdecimal() else -1
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: expected a port, 1 to 65535")
    return port
