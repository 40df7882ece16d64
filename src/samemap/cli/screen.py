"""A terminal on which something is shown in place, again and again."""

from __future__ import annotations

import shutil
import signal
from types import FrameType, TracebackType
from typing import Any

import click

__all__ = ["Screen"]

# Source: XTerm Control Sequences, "DEC Private Mode Set": 1049 the other screen, 7 wrapping, 25 the cursor.
_ENTER = "\x1b[?1049h\x1b[?7l\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?7h\x1b[?1049l"
_HOME, _CLEAR_LINE, _BELOW = "\x1b[H", "\x1b[2K", "\x1b[J"

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """The terminal's other screen, until the block ends; then what was shown last stays on the usual one."""

    def __init__(self) -> None:
        self._last: list[str] = []
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Screen:
        # The terminal must be given back however this ends.
        for number in _ENDING:
            if signal.getsignal(number) == signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, _end)
        # As it is: click removes such sequences where no colour is wanted.
        self._write(_ENTER)
        return self

    def show(self, lines: list[str]) -> None:
        """Show lines, in the place of those before; those that do not fit are counted.

        Args:
            lines: Lines, styled; longer ones than the terminal are cut by it.
        """
        # The cursor stands below them.
        height = shutil.get_terminal_size().lines - 1
        self._last = lines
        if len(lines) > height:
            lines = [*lines[: height - 1], f"... {len(lines) - height + 1} more lines"]
        ctx = click.get_current_context(silent=True)
        if ctx is not None and ctx.color is False:
            lines = [click.unstyle(line) for line in lines]
        # Each line is cleared before it is written: afterwards, that would take the last character of a full one.
        self._write(_HOME + "\n".join(_CLEAR_LINE + line for line in lines) + "\n" + _BELOW)

    def _write(self, text: str) -> None:
        click.echo(text, nl=False, color=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(_LEAVE)
        for line in self._last:
            click.echo(line)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
