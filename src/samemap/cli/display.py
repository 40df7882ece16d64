"""How things are shown: to people, and as JSON."""

from __future__ import annotations

import json
import os
import pwd
import select
import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import click

__all__ = [
    "abandon_output",
    "age",
    "colour_wanted",
    "counted_processes",
    "cut",
    "echo_json",
    "human_size",
    "iso_time",
    "listener_gone",
    "owner_name",
    "printable",
    "table",
    "terminal_width",
]


def human_size(size: int) -> str:
    """Return a size as ``ls -lh`` shows it: exact below 1024 bytes, else with K, M, G or T.

    Example:
        >>> human_size(13), human_size(4096), human_size(6_500_000)
        ('13', '4K', '6.2M')
    """
    amount = float(size)
    units = iter("KMGT")
    unit = ""
    # What would round to 1024 belongs to the next unit.
    while amount >= 1023.95 and (larger := next(units, None)):
        unit = larger
        amount /= 1024
    return f"{amount:.1f}".removesuffix(".0") + unit


def printable(text: str) -> str:
    r"""Return text that cannot steer a terminal: control characters and the like are escaped.

    Example:
        >>> print(printable("red\x1b[31m"))
        red\x1b[31m
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def age(seconds: float) -> str:
    """Return a time span, as exactly as people want it.

    Example:
        >>> age(0.2), age(41), age(600), age(7200), age(200_000)
        ('<1 s', '41 s', '10 min', '2 h', '2 d')
    """
    # Clocks are set back, and those of other processes are read a moment earlier or later.
    if seconds < 1:
        return "<1 s"
    for limit, length, unit in ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds // 86400)} d"


def cut(text: str, width: int) -> str:
    """Return what fits of a line.

    Example:
        >>> cut("python worker.py", 10), cut("python", 10)
        ('python wo…', 'python')
    """
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def counted_processes(count: int) -> str:
    """Return how many processes, in words.

    Example:
        >>> counted_processes(1), counted_processes(2)
        ('1 process', '2 processes')
    """
    return f"{count} process{'' if count == 1 else 'es'}"


def iso_time(seconds: float) -> str:
    """Return a moment in ISO 8601, in local time with its offset."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


def owner_name(uid: int) -> str:
    """Return the name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def echo_json(record: dict[str, Any]) -> None:
    """Print one JSON object on a line of its own, at once."""
    # ASCII only: names that are not UTF-8 hold lone surrogates, which no output encoding takes unescaped.
    click.echo(json.dumps(record))


def table(rows: Iterable[tuple[str, ...]], right: frozenset[int]) -> Iterator[str]:
    """Align rows in columns, those numbered in ``right`` to the right."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(aligned).rstrip()


def terminal_width() -> int | None:
    """Return the columns of the terminal, for lines to be cut to; ``None`` where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def colour_wanted() -> bool | None:
    """Return False when the user wants none (https://no-color.org), else None: click looks for a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def listener_gone() -> bool:
    """Tell whether standard output is a pipe that nobody reads any more.

    A program that waits for something to print learns it no other way.
    """
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def abandon_output() -> None:
    """Send what is left of standard output nowhere, so that the interpreter's exit does not trip over it."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass
