"""``samemap delay``: how long messages take from being published to being received."""

from __future__ import annotations

import math
import time
from contextlib import closing
from itertools import accumulate

import click

from .channels import Watched
from .display import cut, echo_json, iso_time, table, terminal_width
from .looks import Look, looks, monitoring
from .parameters import Trust

__all__ = ["delay", "percentiles"]

EXAMPLES = """\b
Examples:
  samemap delay camera                       each second, until Ctrl-C
  samemap delay pose --every 1m --count 1    of few messages, few are counted
  samemap delay camera --json | jq '.subscribers[].p99'
"""

#: So much of the messages took no longer.
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@click.command(epilog=EXAMPLES)
@monitoring
def delay(
    name: str,
    every: float,
    count: int | None,
    wait: float | None,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Print how long messages of the topic NAME take from being published to being received.

    For each subscription: half of the messages took no longer than P50, nine in ten no longer than P90,
    and so on. Subscriptions count their own delays, by powers of two of nanoseconds, so each figure is the
    end of a range: "≤ 16.4 µs" is more than 8.2 and at most 16.4 µs. Of messages of up to 4,096 bytes,
    every 16th is counted.

    A delay ends when the subscriber asks for the message and gets it. One that is busy with the message
    before makes it long, and so does one whose policy is "latest", for as long as it does something else.

    It makes differences of the counts in the file, which it opens read-only: it never subscribes, costs
    nobody anything, and needs no more than the permission to read.
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    with closing(looks(name, trust, every, count, wait)) as differences:
        for seen, new in differences:
            if seen.kind != "Topic":
                raise ValueError(
                    f"{seen.path}: it is a {seen.kind}, to which nobody subscribes, so nobody counts delays"
                )
            if as_json:
                _echo_json(name, seen, new)
            else:
                _show(seen, new)


def percentiles(counts: tuple[int, ...]) -> dict[str, float | None]:
    """Return how many seconds the messages took at most.

    Args:
        counts: How many took how long, by powers of two of nanoseconds.

    Returns:
        The end of the range that each share of them reaches; ``None`` where none was counted, and infinity in the
        last range, which has no end.

    Example:
        >>> counts = [0] * 32
        >>> counts[10], counts[12] = 90, 10
        >>> percentiles(tuple(counts))
        {'p50': 2.048e-06, 'p90': 2.048e-06, 'p99': 8.192e-06, 'max': 8.192e-06}
    """
    total = sum(counts)
    if not total:
        return dict.fromkeys(SHARES)
    reached = list(accumulate(counts))
    found: dict[str, float | None] = {}
    for part, share in SHARES.items():
        # Of ten, the ninth is the one that nine in ten do not exceed.
        power = next(power for power, so_far in enumerate(reached) if so_far >= math.ceil(share * total))
        found[part] = math.inf if power == len(counts) - 1 else 2.0 ** (power + 1) / 1e9
    return found


def _show(seen: Watched, new: Look) -> None:
    if not new.delays:
        click.echo("nobody subscribes")
        return
    heading = (*map(str.upper, SHARES), "COUNTED", "POLICY", "SUBSCRIBER")
    rows = []
    for (tag, _), (policy, counts) in new.delays.items():
        ends = [_bound(end, counts) for end in percentiles(counts).values()]
        told = str(sum(counts)) if any(counts) else "no new messages"
        rows.append((*ends, told, policy, seen.called(tag)))
    width = terminal_width()
    for number, line in enumerate(table([heading, *rows], right=frozenset(range(len(SHARES) + 1)))):
        line = line if width is None else cut(line, width)
        click.echo(click.style(line, bold=True) if number == 0 else line)


def _bound(end: float | None, counts: tuple[int, ...]) -> str:
    if end is None:
        return "-"
    # Where the last range begins.
    return f"> {_span(2.0 ** (len(counts) - 1) / 1e9)}" if math.isinf(end) else f"≤ {_span(end)}"


def _span(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _echo_json(name: str, seen: Watched, new: Look) -> None:
    subscribers = []
    for (tag, _), (policy, counts) in new.delays.items():
        pid, command, alive = seen.who(tag)
        ends = {part: "Infinity" if end == math.inf else end for part, end in percentiles(counts).items()}
        subscribers.append(
            {"pid": pid, "command": command, "alive": alive, "policy": policy, "counted": sum(counts), **ends}
        )
    echo_json({"name": name, "time": iso_time(time.time()), "seconds": new.moment, "subscribers": subscribers})
