"""A program in a terminal of its own (tmux), and its screen as text or as HTML."""

import html
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_WAIT_S = 60.0
_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_BASIC = (
    "#000000", "#cc3333", "#33a333", "#b58900", "#4477dd", "#aa55aa", "#2aa1a1", "#d0d0d0",
    "#707070", "#ff6666", "#66dd66", "#eedd55", "#77aaff", "#dd88dd", "#66dddd", "#ffffff",
)  # fmt: skip
_STEPS = (0, 95, 135, 175, 215, 255)
_FOREGROUND, _BACKGROUND = "#d0d0d0", "#101418"


class TerminalError(RuntimeError):
    """The screen did not become what was waited for. The message holds it."""


def find_tmux() -> str | None:
    """The program; None where there is none on PATH."""
    return shutil.which("tmux")


class Terminal:
    """Runs `argv` in a terminal of `columns` by `rows` until it is left as a context."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        folder: Path,
        *,
        columns: int,
        rows: int,
        env: Mapping[str, str],
    ) -> None:
        tmux = find_tmux()
        if tmux is None:
            raise FileNotFoundError("tmux is not on PATH")
        # A server of its own, whose socket is in our folder: nobody else's session is in reach.
        self._tmux = [tmux, "-S", str(folder / "tmux.sock"), "-f", "/dev/null"]
        self._env = {**env, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._run(
            "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(folder), "--", *map(str, argv)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([*self._tmux, "kill-server"], env=self._env, check=False, capture_output=True)

    def press(self, *keys: str) -> None:
        """Presses keys by tmux's names: `Enter`, `Tab`, `q`."""
        self._run("send-keys", *keys)

    def type(self, text: str) -> None:
        """Types text as it is."""
        self._run("send-keys", "-l", "--", text)

    def screen(self) -> str:
        """What is shown, without colours."""
        return self._run("capture-pane", "-p")

    def wait_for(self, text: str) -> str:
        """The screen, once it shows `text`. Raises TerminalError where that does not come."""
        deadline = time.monotonic() + _WAIT_S
        while text not in (screen := self.screen()):
            if time.monotonic() > deadline:
                raise TerminalError(f"no {text!r} within {_WAIT_S:g} s:\n{screen}")
            time.sleep(0.05)  # tmux has no way to be told of a change of the screen
        return screen

    def html(self) -> str:
        """What is shown, as a page of its own."""
        return screen_html(self._run("capture-pane", "-e", "-p"))

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments],
            env=self._env,
            check=False,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        if done.returncode:
            raise TerminalError(f"tmux {arguments[0]}: {done.stderr.strip()}")
        return done.stdout


def screen_html(screen: str) -> str:
    """A page that looks as the terminal does; `screen` is text with SGR escapes."""
    style = _Style()
    parts = []
    position = 0
    for match in _SGR.finditer(screen):
        parts.append(style.span(screen[position : match.start()]))
        style.apply([int(number or 0) for number in match[1].split(";")])
        position = match.end()
    parts.append(style.span(screen[position:].rstrip("\n")))
    return (
        "<!doctype html><meta charset=utf-8><style>"
        f"body{{margin:0;background:{_BACKGROUND};color:{_FOREGROUND}}}"
        "pre{margin:0;padding:10px;display:inline-block;font:14px/18px 'DejaVu Sans Mono',monospace}"
        f"</style><pre>{''.join(parts)}</pre>"
    )


class _Style:
    """What the SGR escapes so far have set. Source: ECMA-48, 8.3.117, and xterm's 256 colours."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._colours: dict[bool, str] = {}
        self._bold = self._underlined = self._reverse = False

    def apply(self, numbers: list[int]) -> None:
        while numbers:
            number = numbers.pop(0)
            if number == 0:
                self._reset()
            elif number in (1, 22):
                self._bold = number == 1
            elif number in (4, 24):
                self._underlined = number == 4
            elif number in (7, 27):
                self._reverse = number == 7
            elif number in (38, 48):
                self._colours[number == 48] = _extended(numbers)
            elif number in (39, 49):
                self._colours.pop(number == 49, None)
            elif 30 <= number % 60 <= 47 and number < 108:
                background = number % 60 >= 40
                self._colours[background] = _BASIC[number % 10 + (8 if number >= 90 else 0)]

    def span(self, text: str) -> str:
        if not text:
            return ""
        colours = (self._colours.get(False, _FOREGROUND), self._colours.get(True, _BACKGROUND))
        front, back = reversed(colours) if self._reverse else colours
        rules = f"color:{front};background:{back}"
        rules += ";font-weight:bold" if self._bold else ""
        rules += ";text-decoration:underline" if self._underlined else ""
        return f'<span style="{rules}">{html.escape(text)}</span>'


def _extended(numbers: list[int]) -> str:
    kind = numbers.pop(0)
    if kind == 2:
        red, green, blue = (numbers.pop(0) for _ in range(3))
    else:
        index = numbers.pop(0)
        if index < 16:
            return _BASIC[index]
        if index < 232:
            index -= 16
            red, green, blue = (_STEPS[index // 36], _STEPS[index // 6 % 6], _STEPS[index % 6])
        else:
            red = green = blue = 8 + (index - 232) * 10
    return f"#{red:02x}{green:02x}{blue:02x}"
