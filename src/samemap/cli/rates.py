"""``samemap hz``, ``bw`` and ``delay``: what a topic carries, from the counts in its segment."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click

from .channels import Watched, watch
from .display import echo_json, human_size, iso_time, printable
from .parameters import NAME, Duration, Trust, opening

__all__ = ["bandwidth", "delay", "rate"]


class Look(NamedTuple):
    """What was seen at one moment.

    Attributes:
        moment: Seconds of the monotonic clock.
        messages: How many were ever published.
        outputs: Messages and bytes of each publisher, by tag.
        delays: Counts of delays of each subscription, by tag and when it began.
    """

    moment: float
    messages: int
    outputs: dict[int, tuple[int, int]]
    delays: dict[tuple[int, int], tuple[str, list[int]]]


def look(seen: Watched) -> Look:
    """Look at the counts."""
    outputs = {tag: (own[0], own[1]) for tag, own in seen.outputs()}
    delays = {(tag, joined): (policy, counts) for tag, policy, *_, joined, counts in seen._subscribers()}
    return Look(time.monotonic(), seen.seq, outputs, delays)


def looks(name: str, trust: Trust, every: float, count: int | None, wait: float | None) -> Iterator[tuple[Any, ...]]:
    """Yield pairs of looks, and what was looked at, ``every`` seconds apart."""
    with watch(name, trust, wait) as seen:
        before = look(seen)
        for _ in itertools.count() if count is None else range(count):
            time.sleep(every)
            after = look(seen)
            yield seen, before, after
            before = after


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        opening,
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object per look."),
        click.option("--wait", type=Duration(endless=True), help="Wait so long until it exists; or 'inf'."),
        click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N looks."),
        click.option("--every", type=Duration(0.01), default="1s", show_default=True, help="Look so often."),
        click.argument("name", type=NAME),
    ):
        command = option(command)
    return command


def _who(seen: Watched, tag: int) -> str:
    pid, command, alive = seen.who(tag)
    state = "" if alive else ", dead"
    return "a process that is gone" if pid is None else printable(f"pid {pid}{state} ({command})")


@click.command("hz", epilog="\b\nExamples:\n  samemap hz camera\n  samemap hz camera --every 10s --json")
@_options
def rate(
    name: str,
    every: float,
    count: int | None,
    wait: float | None,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Print how many messages a second the topic NAME carries, in all and by publisher.

    It looks at counts in the file, which it opens read-only: it never subscribes, and costs publishers nothing.
    """
    _rates(name, every, count, wait, as_json, Trust(any_owner=any_owner, follow_symlinks=follow_symlinks), 0)


@click.command("bw", epilog="\b\nExamples:\n  samemap bw camera\n  samemap bw camera --count 1 --every 10s")
@_options
def bandwidth(
    name: str,
    every: float,
    count: int | None,
    wait: float | None,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Print how many bytes a second the topic NAME carries, in all and by publisher.

    It looks at counts in the file, which it opens read-only: it never subscribes, and costs publishers nothing.
    """
    _rates(name, every, count, wait, as_json, Trust(any_owner=any_owner, follow_symlinks=follow_symlinks), 1)


def _rates(
    name: str, every: float, count: int | None, wait: float | None, as_json: bool, trust: Trust, of: int
) -> None:
    unit = ("messages", "bytes")[of]
    for seen, before, after in looks(name, trust, every, count, wait):
        span = after.moment - before.moment
        found = {tag: (now[of] - before.outputs.get(tag, (0, 0))[of]) / span for tag, now in after.outputs.items()}
        # Messages are counted by their numbers, also of publishers that came and went in between.
        total = (after.messages - before.messages) / span if of == 0 else sum(found.values())
        if as_json:
            publishers = [{"pid": seen.who(tag)[0], f"{unit}_per_second": value} for tag, value in found.items()]
            record = {"name": name, "time": iso_time(time.time()), f"{unit}_per_second": total}
            echo_json({**record, "publishers": publishers})
            continue
        if not total:
            click.echo(f"no new messages for {span:.1f} s (the newest is number {after.messages})")
            continue
        click.echo(f"{_shown(total, of)} in all" if len(found) != 1 else _shown(total, of))
        if len(found) > 1:
            for tag, value in sorted(found.items(), key=lambda item: -item[1]):
                click.echo(f"  {_shown(value, of)}  {_who(seen, tag)}")


def _shown(value: float, of: int) -> str:
    return f"{value:,.1f} messages/s" if of == 0 else f"{human_size(int(value))}/s"


@click.command("delay", epilog="\b\nExamples:\n  samemap delay camera\n  samemap delay camera --every 10s --count 1")
@_options
def delay(
    name: str,
    every: float,
    count: int | None,
    wait: float | None,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Print how long messages of the topic NAME take from being published to being received, by subscription.

    Subscriptions count their own delays, in powers of two: "at most 16.4 us" is between 8.2 and 16.4. Of
    messages of up to 4,096 bytes every 16th is counted.

    It looks at counts in the file, which it opens read-only: it never subscribes, and costs publishers nothing.
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    for seen, before, after in looks(name, trust, every, count, wait):
        rows = []
        for key, (policy, counts) in after.delays.items():
            earlier = before.delays.get(key, (policy, [0] * len(counts)))[1]
            fresh = [(now - then) & 0xFFFFFFFF for now, then in zip(counts, earlier, strict=True)]
            rows.append((key[0], policy, fresh))
        if as_json:
            subscribers = [
                {"pid": seen.who(tag)[0], "policy": policy, "counted": sum(fresh), **_percentiles(fresh)}
                for tag, policy, fresh in rows
            ]
            echo_json({"name": name, "time": iso_time(time.time()), "subscribers": subscribers})
            continue
        if not rows:
            click.echo("nobody subscribes")
        for tag, policy, fresh in rows:
            found = _percentiles(fresh)
            told = "  ".join(f"{part} ≤ {_span(seconds)}" for part, seconds in found.items() if seconds is not None)
            click.echo(f"{told or 'no new messages'}  {policy}, {_who(seen, tag)}")


def _percentiles(counts: list[int]) -> dict[str, float | None]:
    """Return at most how many seconds so many of the messages took; ``None`` where none was counted."""
    total = sum(counts)
    ends: dict[str, float | None] = {}
    for part, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
        reached, ends[part] = 0, None
        for power, counted in enumerate(counts):
            reached += counted
            if total and reached >= share * total:
                ends[part] = 2.0 ** (power + 1) / 1e9
                break
    return ends


def _span(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
