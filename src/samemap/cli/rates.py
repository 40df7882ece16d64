"""``samemap hz`` and ``samemap bw``: how much a topic carries, from the counts in its segment."""

from __future__ import annotations

import time
from contextlib import closing

import click

from .channels import Watched
from .display import cut, echo_json, human_size, iso_time, terminal_width
from .looks import Look, looks, monitoring
from .parameters import Trust

__all__ = ["bandwidth", "rate"]

RATE_EXAMPLES = """\b
Examples:
  samemap hz camera                       each second, until Ctrl-C
  samemap hz camera --every 10s --count 1
  samemap hz camera --json | jq .messages_per_second
"""

BANDWIDTH_EXAMPLES = """\b
Examples:
  samemap bw camera
  samemap bw camera --every 10s --count 1
  samemap bw camera --json | jq .bytes_per_second
"""

#: Where a difference has messages, bytes, and messages that were dropped.
MESSAGES, BYTES, DROPS = range(3)


@click.command("hz", epilog=RATE_EXAMPLES)
@monitoring
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

    It makes differences of the counts in the file, which it opens read-only: it never subscribes, costs
    publishers nothing, and needs no more than the permission to read. Of a newest value, it is how often
    that is set.

    Messages that a publisher dropped because no slot was free are told apart.
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    with closing(looks(name, trust, every, count, wait)) as differences:
        for seen, new in differences:
            if as_json:
                _echo_json(name, seen, new, MESSAGES)
            elif _told_that_nothing_is_new(seen, new):
                continue
            else:
                _show_in_all(new, _often(new.totals[MESSAGES] / new.moment))
                for tag, counts in _publishers(new, MESSAGES):
                    _show_one(f"  {_often(counts[MESSAGES] / new.moment)}  {seen.called(tag)}")


@click.command("bw", epilog=BANDWIDTH_EXAMPLES)
@monitoring
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

    It makes differences of the counts in the file, which it opens read-only: it never subscribes, costs
    publishers nothing, and needs no more than the permission to read.

    K, M, G are powers of 1024, as in 'ls -lh'; --json is exact. Bytes are counted once, however many
    subscribe: nobody copies them for each.
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    with closing(looks(name, trust, every, count, wait)) as differences:
        for seen, new in differences:
            if as_json:
                _echo_json(name, seen, new, BYTES)
            elif _told_that_nothing_is_new(seen, new):
                continue
            else:
                _show_in_all(new, _much(new.totals, new.moment))
                for tag, counts in _publishers(new, BYTES):
                    _show_one(f"  {_much(counts, new.moment)}  {seen.called(tag)}")


def _publishers(new: Look, of: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return those who have published since the last look, the one who has most first."""
    busy = [(tag, counts) for tag, counts in new.outputs.items() if any(counts)]
    return sorted(busy, key=lambda each: -each[1][of])


def _told_that_nothing_is_new(seen: Watched, new: Look) -> bool:
    if any(new.totals):
        return False
    alive = any(seen.who(tag)[2] for tag in new.outputs)
    told = "" if alive or not new.outputs else ", and nobody who has published lives"
    click.echo(f"no new messages for {new.moment:.1f} s (the newest is number {seen.seq}){told}")
    return True


def _show_in_all(new: Look, told: str) -> None:
    drops = new.totals[DROPS]
    lost = click.style(f", {_often(drops / new.moment)} dropped for want of a slot", fg="yellow") if drops else ""
    click.echo(f"{told}{lost}")


def _show_one(line: str) -> None:
    width = terminal_width()
    click.echo(line if width is None else cut(line, width))


def _often(value: float) -> str:
    # Also of what comes once a minute there is something to see.
    return f"{value:,.1f} messages/s" if value >= 1 or value == 0 else f"{value:.2g} messages/s"


def _much(counts: tuple[int, ...], seconds: float) -> str:
    messages, total = counts[MESSAGES], counts[BYTES]
    each = f", {human_size(total // messages)} a message" if messages else ""
    return f"{human_size(round(total / seconds))}/s{each}"


def _echo_json(name: str, seen: Watched, new: Look, of: int) -> None:
    unit = ("messages", "bytes")[of]

    def told(counts: tuple[int, ...]) -> dict[str, float]:
        record = {f"{unit}_per_second": counts[of] / new.moment, "messages": counts[MESSAGES]}
        return {**record, "bytes": counts[BYTES], "dropped": counts[DROPS]}

    publishers = []
    for tag, counts in new.outputs.items():
        pid, command, alive = seen.who(tag)
        publishers.append({"pid": pid, "command": command, "alive": alive, **told(counts)})
    head = {"name": name, "time": iso_time(time.time()), "seconds": new.moment}
    echo_json({**head, **told(new.totals), "seq": seen.seq, "publishers": publishers})
