"""The console command `mitm-mirror`, which equals `python -m mitm_mirror`.

It imports neither mitmproxy nor httpx, and nothing at all before it knows what is asked: a check of one
small file answers in under half a second.
"""
# ruff: noqa: T201, PLC0415 - it prints by trade, and imports what a command needs when it is asked for

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mitm_mirror import __version__

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
    commands.add_parser(
        "addon",
        help="print the path of the script for mitmdump -s",
        description='Prints the path of the addon script: mitmdump -s "$(mitm-mirror addon)"',
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "addon":
        print(Path(__file__).with_name("script.py"))
        return EXIT_OK
    if arguments.command == "export":
        return _export_envoy(arguments)
    return _check(arguments.paths)


def _check(paths: Sequence[str]) -> int:
    # Imported here: the other commands answer without the models' half a tenth of a second.
    from mitm_mirror.resources.issue import Severity
    from mitm_mirror.rule_set import counted, load_rule_set

    if _say_missing("check", paths):
        return EXIT_USAGE

    rule_set = load_rule_set(paths)
    for issue in rule_set.issues:
        print(issue)
    files, errors = counted("file", len(rule_set.files)), counted("error", len(rule_set.errors))
    warnings = sum(issue.severity is Severity.WARNING for issue in rule_set.issues)
    print(f"{files}: {errors}, {counted('warning', warnings)}", file=sys.stderr)
    return EXIT_ERRORS if rule_set.errors else EXIT_OK


def _export_envoy(arguments: argparse.Namespace) -> int:
    from mitm_mirror.export.envoy import export_envoy
    from mitm_mirror.rule_set import load_rule_set

    if _say_missing("export", arguments.paths):
        return EXIT_USAGE
    rule_set = load_rule_set(arguments.paths, host_suffix=arguments.host_suffix)
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


def _say_missing(command: str, paths: Sequence[str]) -> bool:
    """Whether a path names nothing, which is said."""
    from mitm_mirror.resources.files import find_files
    from mitm_mirror.resources.issue import Severity

    missing = [
        issue
        for issue in find_files(paths, missing=Severity.WARNING)[1]
        if issue.severity is Severity.WARNING
    ]
    for issue in missing:
        print(f"mitm-mirror {command}: {issue.file}: {issue.message}", file=sys.stderr)
    return bool(missing)


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdecimal() else -1
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: expected a port, 1 to 65535")
    return port
