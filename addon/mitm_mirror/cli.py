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
    return _check(arguments.paths)


def _check(paths: Sequence[str]) -> int:
    # Imported here: the other commands answer without the models' half a tenth of a second.
    from mitm_mirror.resources.files import find_files
    from mitm_mirror.resources.issue import Severity
    from mitm_mirror.rule_set import counted, load_rule_set

    missing = [
        issue
        for issue in find_files(paths, missing=Severity.WARNING)[1]
        if issue.severity is Severity.WARNING
    ]
    for issue in missing:
        print(f"mitm-mirror check: {issue.file}: {issue.message}", file=sys.stderr)
    if missing:
        return EXIT_USAGE

    rule_set = load_rule_set(paths)
    for issue in rule_set.issues:
        print(issue)
    files, errors = counted("file", len(rule_set.files)), counted("error", len(rule_set.errors))
    warnings = sum(issue.severity is Severity.WARNING for issue in rule_set.issues)
    print(f"{files}: {errors}, {counted('warning', warnings)}", file=sys.stderr)
    return EXIT_ERRORS if rule_set.errors else EXIT_OK
