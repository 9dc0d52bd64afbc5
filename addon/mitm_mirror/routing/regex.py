"""RE2 as Envoy uses it: on bytes, whole value, linear time."""

import re
from collections.abc import Callable
from typing import Any

import re2  # type: ignore[import-untyped]

# Istio's bootstrap sets re2.max_program_size.error_level to this (pkg/bootstrap/config.go): what a
# cluster refuses is refused here too, and memory stays bounded.
_PROGRAM_SIZE_LIMIT = 32_768


def compile_regex(pattern: str) -> Any:
    """The compiled pattern. ValueError says what is wrong with it."""
    try:
        compiled = re2.compile(pattern.encode(), _options())
    except re2.error as e:
        reason = e.args[0] if e.args else e
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{_shown(pattern)} is no RE2 regular expression: {text}") from e
    if compiled.programsize > _PROGRAM_SIZE_LIMIT:
        raise ValueError(
            f"{_shown(pattern)} is too large: {compiled.programsize} RE2 instructions, "
            f"expected at most {_PROGRAM_SIZE_LIMIT}"
        )
    return compiled


_PLAIN = re.compile("[A-Za-z0-9/_-]*")
_QUANTIFIERS = ("*", "+", "?", "{")


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False  # it would print to standard error beside our own message
    return options


def _shown(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 60 else f"{pattern[:57]}...")


def _without_groups(compiled: Any) -> Any:
    """The same pattern for who does not ask what a group matched.

    The binding has RE2 find that out for each match, which on a path of 8 KB takes up to 10,000 times as
    long: 180 ms for `/((a{0,30}){0,30})*!`, without groups 0.02. The size of a program counts with them.
    """
    if not compiled.groups:
        return compiled
    options = _options()
    options.never_capture = True
    return re2.compile(compiled.pattern, options)


def full_match(pattern: str) -> Callable[[bytes], bool]:
    """Whether the whole value matches. ValueError as `compile_regex`."""
    fullmatch = _without_groups(compile_regex(pattern)).fullmatch
    prefix = literal_prefix(pattern)
    if not prefix:
        return lambda value: fullmatch(value) is not None
    # Most values miss, and to call RE2 takes some microseconds.
    return lambda value: value.startswith(prefix) and fullmatch(value) is not None


def literal_prefix(pattern: str) -> bytes:
    """What every value begins with that the whole of `pattern` matches, as far as it is plain to see."""
    if "|" in pattern:
        return b""
    text = pattern.removeprefix("^")
    end = _PLAIN.match(text).end()  # type: ignore[union-attr]  # it matches nothing, too
    return text[: end - 1 if text[end : end + 1] in _QUANTIFIERS else end].encode()


def replace_all(pattern: str, substitution: str) -> Callable[[bytes], bytes]:
    r"""Replaces every match by the substitution: `\0` to `\9` are groups, `\\` is a backslash.

    Groups that took no part are empty. ValueError also for a reference to a group that is not there.
    Source: RE2::GlobalReplace and RE2::CheckRewriteString, through Envoy's regex_rewrite.
    """
    compiled = compile_regex(pattern)
    pieces = _parse_substitution(substitution, compiled.groups)
    if not any(piece for piece in pieces if isinstance(piece, int)):  # \0 at most
        compiled = _without_groups(compiled)

    def replace(value: bytes) -> bytes:
        done: list[bytes] = []
        end = 0
        for match in compiled.finditer(value):
            if match.start() == match.end() == end and end:
                # RE2 allows no empty match right behind the last one: `a*` on `aa` matches once.
                continue
            done.append(value[end : match.start()])
            done.extend(piece if isinstance(piece, bytes) else match.group(piece) or b"" for piece in pieces)
            end = match.end()
        done.append(value[end:])
        return b"".join(done)

    return replace


def _parse_substitution(substitution: str, groups: int) -> list[bytes | int]:
    pieces: list[bytes | int] = []
    literal = ""
    characters = iter(substitution)
    for character in characters:
        if character != "\\":
            literal += character
            continue
        escaped = next(characters, "")
        if escaped == "\\":
            literal += escaped
        elif escaped.isascii() and escaped.isdigit():
            if int(escaped) > groups:
                raise ValueError(
                    f"{substitution!r} refers to group {escaped}, but the expression has {groups} of them"
                )
            pieces += [literal.encode(), int(escaped)]
            literal = ""
        else:
            raise ValueError(f"{substitution!r} has a backslash without a digit or a backslash behind it")
    pieces.append(literal.encode())
    return pieces
