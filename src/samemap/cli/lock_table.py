"""The table that ``samemap locks`` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from .display import age, cut, printable, table
from .observe import Hold, Sight, Waiter

__all__ = ["Row", "lines"]

HEADING = ("NAME", "KIND", "STATE", "SINCE", "WAITING", "RECOVERED", "HOLDER")

#: Where there is less room than this for a command line, holders get lines of their own.
LEAST_COMMAND = 12

#: Pids that a line shows of those who wait.
MOST_PIDS = 3


class Row(NamedTuple):
    """An object, and the segment that it lies in.

    Attributes:
        segment: The segment's name, as its user calls it.
        path: Its file.
        sight: What was seen of the object.
    """

    segment: str
    path: str
    sight: Sight

    @property
    def name(self) -> str:
        """What the row is called: ``segment``, or ``namespace:object``."""
        return f"{self.segment}:{self.sight.name}" if self.sight.name else self.segment

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        told = {"name": self.name, "segment": self.segment, "object": self.sight.name or None, "path": self.path}
        return {**told, **self.sight.record()}


def lines(rows: list[Row], now: float, width: int | None) -> Iterator[str]:
    """Turn rows into the lines of a table, with colours.

    Args:
        rows: What to show; at least one.
        now: Seconds since 1970.
        width: Columns of the terminal, for command lines to be cut to; ``None`` to cut nothing.

    Yields:
        The heading; for each row a line, and one more for each further holder.
    """
    # A mark at the end keeps the last column as wide as it is.
    cells = [(*HEADING[:-1], "|"), *(_cells(row, now) for row in rows)]
    heading, *starts = (line[:-1] for line in table(cells, _RIGHT))
    room = None if width is None else width - len(heading)
    longest = max((len(_essence(hold)) for row in rows for hold in row.sight.holds), default=0)
    if room is None or longest == 0 or room >= longest + 1 + LEAST_COMMAND:
        yield click.style(heading + HEADING[-1], bold=True)
        for start, row in zip(starts, rows, strict=True):
            first, *more = [_holder(hold, room) for hold in row.sight.holds] or [""]
            yield _marked(start, row) + first if first else _marked(start.rstrip(), row)
            yield from (" " * len(start) + holder for holder in more)
    else:
        # Too narrow: each holder below its row.
        yield click.style(heading.rstrip(), bold=True)
        for start, row in zip(starts, rows, strict=True):
            yield _marked(start.rstrip(), row)
            yield from ("  held by " + _holder(hold, (width or 0) - 10) for hold in row.sight.holds)


_RIGHT = frozenset({3, 5})


def _cells(row: Row, now: float) -> tuple[str, ...]:
    sight = row.sight
    return (
        printable(row.name),
        sight.kind or "?",
        sight.state,
        "-" if sight.since is None else age(now - sight.since),
        _waiting(sight.waiters),
        "-" if sight.recovered is None else str(sight.recovered),
        "|",
    )


def _waiting(waiters: tuple[Waiter, ...]) -> str:
    if not waiters:
        return "-"
    pids = [f"{waiter.pid}{'' if waiter.is_here else '?'}" for waiter in waiters[:MOST_PIDS]]
    more = ["…"] if len(waiters) > MOST_PIDS else []
    return f"{sum(waiter.sleepers for waiter in waiters)}: {' '.join(pids + more)}"


def _marked(start: str, row: Row) -> str:
    return start if row.sight.problem is None else click.style(start, fg="red")


def _essence(hold: Hold) -> str:
    """Return what must be seen of a holder, however narrow the terminal is."""
    # One whose place is another's by now may have ended as it should, but for this.
    words = ["gone" if hold.pid is None else f"{hold.pid}{'' if hold.is_here else '?'}"]
    if hold.role != "holder":
        words.append(hold.role)
    if hold.amount > 1:
        words.append(f"×{hold.amount}")  # noqa: RUF001 - a multiplication sign
    if not hold.alive and hold.pid is not None:
        words.append("died")
    return " ".join(words) + ("" if hold.alive else f": {hold.on_death}")


def _holder(hold: Hold, room: int | None) -> str:
    essence = _essence(hold)
    command = printable(hold.command)
    if room is not None:
        command = cut(command, max(room - len(essence) - 1, 0))
    return f"{essence if hold.alive else click.style(essence, fg='red')} {command}".rstrip()
