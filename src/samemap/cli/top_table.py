"""The table that ``samemap top`` shows: its columns, their order, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .display import age, human_size, printable
from .history import Row, Snapshot, sparkline
from .observe import Hold

__all__ = ["COLUMNS", "Column", "Order", "is_wanted", "ordered"]

#: How many characters a minute has.
WIDTH = 12


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        key: What ``--sort`` calls it.
        heading: What stands above it.
        is_number: Whether it is sorted the greatest first.
        value: What rows are sorted by; `None` stands for nothing, and comes last.
        cell: What is shown.
    """

    key: str
    heading: str
    is_number: bool
    value: Callable[[Row], Any]
    cell: Callable[[Row, Snapshot], str]

    @property
    def is_right(self) -> bool:
        """Whether it stands at the right."""
        return self.is_number and self.key not in ("held", "minute")


class Order(NamedTuple):
    """How rows are sorted.

    Attributes:
        key: The column.
        is_reversed: Whether the other way round than that column usually is.
    """

    key: str = "name"
    is_reversed: bool = False


def ordered(rows: Iterable[Row], order: Order) -> list[Row]:
    """Sort rows.

    Args:
        rows: Any.
        order: By what; what has no such thing comes last, either way round.
    """
    column = next(column for column in COLUMNS if column.key == order.key)
    # Sorting is stable: those that are equal stay in the order of their names.
    by_name = sorted(rows, key=lambda row: row.sample.name)
    known = [row for row in by_name if column.value(row) is not None]
    unknown = [row for row in by_name if column.value(row) is None]
    return [*sorted(known, key=column.value, reverse=column.is_number != order.is_reversed), *unknown]


def is_wanted(row: Row, words: str) -> bool:
    """Tell whether a row has all of some words in its name, its kind, or those who take part.

    Example:
        >>> from samemap.cli.sampling import Sample
        >>> row = Row(Sample("camera", "/dev/shm/camera", "Topic", 4096, "1"))
        >>> is_wanted(row, "CAM topic"), is_wanted(row, "lock")
        (True, False)
    """
    sample = row.sample
    members = (f"{member.pid} {member.command}" for member in sample.members)
    text = "\n".join((sample.name, sample.kind or "?", *members)).casefold()
    return all(word in text for word in words.casefold().split())


def holder(hold: Hold, now: float) -> str:
    """Return who holds something since when, in a word or two.

    Args:
        hold: Who does.
        now: Seconds since 1970.
    """
    who = "gone" if hold.pid is None else f"{hold.pid}{'' if hold.is_here else '?'}"
    died = " died" if hold.pid is not None and not hold.alive else ""
    return f"{who}{died}" + ("" if hold.since is None else f" {age(now - hold.since)}")


def rate(value: float) -> str:
    """Return how many a second, in few characters.

    Example:
        >>> rate(0), rate(0.04), rate(29.97), rate(1234567)
        ('0', '0.04', '30.0', '1,234,567')
    """
    if value == 0:
        return "0"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _attached(row: Row) -> str:
    sample = row.sample
    dead = len(sample.members) - sample.alive
    return f"{sample.alive}" + (f" +{dead} dead" if dead else "") if sample.places else "-"


def _held(row: Row, now: float) -> str:
    # Who has it longest is what people look for; the dead come first.
    kept = sorted(row.sample.kept, key=lambda each: (each.hold.alive, each.hold.since or now))
    if not kept:
        return "-"
    more = f" +{len(kept) - 1}" if len(kept) > 1 else ""
    return holder(kept[0].hold, now) + more


def _held_for(row: Row) -> float | None:
    since = [each.hold.since for each in row.sample.kept if each.hold.since is not None]
    return -min(since) if since else None


def _kind(row: Row) -> str:
    return row.sample.kind or f"? {row.sample.state}"


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort camera2 before camera10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.casefold()))


COLUMNS = (
    Column("name", "NAME", False, lambda row: _natural(row.sample.name), lambda row, _: printable(row.sample.name)),
    Column("kind", "KIND", False, _kind, lambda row, _: _kind(row)),
    Column("size", "SIZE", True, lambda row: row.sample.size, lambda row, _: human_size(row.sample.size)),
    Column(
        "rate",
        "MSG/S",
        True,
        lambda row: None if row.rates is None else row.rates.messages,
        lambda row, _: "-" if row.rates is None else rate(row.rates.messages),
    ),
    Column(
        "bytes",
        "BYTES/S",
        True,
        lambda row: None if row.rates is None else row.rates.bytes,
        lambda row, _: "-" if row.rates is None else human_size(round(row.rates.bytes)),
    ),
    Column(
        "minute",
        "LAST MINUTE",
        True,
        lambda row: max((each for _, each in row.minute), default=None),
        lambda row, snapshot: sparkline(row.minute, snapshot.moment, WIDTH),
    ),
    Column("depth", "DEPTH", True, lambda row: row.sample.depth, lambda row, _: _number(row.sample.depth)),
    Column("lag", "LAG", True, lambda row: row.sample.lag, lambda row, _: _number(row.sample.lag)),
    Column("attached", "ATTACHED", True, lambda row: row.sample.alive, lambda row, _: _attached(row)),
    Column("held", "HELD BY", True, _held_for, lambda row, snapshot: _held(row, snapshot.now)),
    Column(
        "drops",
        "DROPS",
        True,
        lambda row: None if row.sample.counts is None else row.sample.counts.dropped,
        lambda row, _: _number(None if row.sample.counts is None else row.sample.counts.dropped),
    ),
    Column("waiting", "WAITING", True, lambda row: row.sample.waiting, lambda row, _: _number(row.sample.waiting)),
)
