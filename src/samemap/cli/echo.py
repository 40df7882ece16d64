"""``samemap echo``: print the messages of a topic, or the changes of a newest value."""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from typing import Any, Literal, NamedTuple

import click

from .._core import Sample
from ..latest import Latest
from .display import cut, echo_json, iso_time, printable, terminal_width
from .feeds import Feed, follow, open_channel
from .parameters import DURATION, NAME, Duration, Trust, opening
from .value_json import Limit
from .value_text import message_text

__all__ = ["echo"]

EXAMPLES = """\b
Examples:
  samemap echo camera                       each message, until Ctrl-C
  samemap echo camera --history 5           the last five first
  samemap echo pose --count 1 --wait inf    the first that comes
  samemap echo pose --json | jq .value.x
  samemap echo crashed --last 100           what is still there, and no more
"""

#: Where later lines of a message begin.
INDENT = "      "


class Manner(NamedTuple):
    """How messages are printed.

    Attributes:
        name: What the user calls the topic.
        as_json: As an object a line.
        limit: How much of arrays and bytes is told in JSON.
        unpickles: Whether pickles are unpickled.
        is_pickle: Whether messages are pickles.
        width: Columns of the terminal, for lines to be cut to; ``None`` to cut nothing.
    """

    name: str
    as_json: bool
    limit: Limit
    unpickles: bool
    is_pickle: bool
    width: int | None


@click.command(epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N messages.")
@click.option(
    "--history",
    type=click.IntRange(min=0),
    metavar="N",
    help="Begin with the last N messages, as far as they are there.",
)
@click.option(
    "--policy",
    type=click.Choice(["latest", "drop", "block"]),
    help="What to do when messages come faster than they are printed: skip to the newest; lose the oldest; or let "
    "the publishers wait.  [default: drop]",
)
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    help="Print the last N messages that are still there, and no more, also when all processes have died.",
)
@click.option("--wait", type=Duration(endless=True), help="Wait so long until it exists; or 'inf'.")
@click.option("--timeout", type=DURATION, help="Fail when nothing comes for so long.")
@click.option("--pickle", "unpickles", is_flag=True, help="Unpickle, which can run any program of those who publish.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per message.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    metavar="N",
    help="With --json: of arrays with more elements, and of more bytes that are no text, tell the size only.",
)
@click.option("--base64", "in_base64", is_flag=True, help="With --json: and their bytes, in base64.")
@opening
def echo(
    name: str,
    count: int | None,
    history: int | None,
    policy: Literal["latest", "drop", "block"] | None,
    last: int | None,
    wait: float | None,
    timeout: float | None,
    unpickles: bool,
    as_json: bool,
    limit: int,
    in_base64: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Print each message of the topic NAME, or each change of the newest value NAME.

    A line begins with the number of the message and the time when it was published, and says how many
    messages were lost before it. Arrays are shown by shape, dtype and some elements; records as
    field=value; typed messages nearly as JSON; bytes as text, if they are that, else as a hexdump. Pickles
    are counted, and shown with --pickle only.

    It subscribes as any program does, so 'samemap stat' lists it. A file that you may only read is looked
    at every 5 ms instead, and nobody sees that. --last looks once, and never subscribes.

    With --policy block, publishers wait for this program: also for a slow terminal, for as long as it
    lives, even while it is stopped (Ctrl-Z).

    In JSON: name, seq, time, missed, publisher (its pid), size and value. Arrays are lists, records
    objects, bytes text; numbers that JSON does not have are "NaN" and "Infinity".
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    if last is not None:
        for option, given in (
            ("--count", count),
            ("--history", history),
            ("--policy", policy),
            ("--timeout", timeout),
        ):
            if given is not None:
                raise click.UsageError(f"--last prints what is there and ends: it goes without {option}")
    manner = Manner(name, as_json, Limit(limit, in_base64), unpickles, False, terminal_width())
    if last is not None:
        with closing(open_channel(name, trust, wait, "r")) as channel:
            manner = manner._replace(is_pickle=channel.codec == "pickle")
            if isinstance(channel, Latest):
                found = channel._sample()
                samples = [] if found is None else [found]
            else:
                samples = channel.last(last)
            before = 0
            for sample in samples:
                show(sample, sample.seq - before - 1 if before else 0, manner)
                before = sample.seq
        return
    with Feed(name, trust, policy=policy or "drop", history=history or 0, wait=wait) as feed:
        _refuse_what_it_has_not(feed, history, policy)
        if feed.is_read_only:
            click.echo(f"{printable(name)}: it may only be read, so this looks every 5 ms", err=True)
        with closing(follow(feed, timeout)) as messages:
            for sample in itertools.islice(messages, count):
                with sample:
                    show(sample, feed.missed, manner._replace(is_pickle=feed.channel.codec == "pickle"))


def show(sample: Sample, missed: int, manner: Manner) -> None:
    """Print a message, at once.

    Args:
        sample: The message.
        missed: How many were lost before it.
        manner: How.
    """
    if manner.as_json:
        publisher = sample.publisher
        echo_json(
            {
                "name": manner.name,
                "seq": sample.seq,
                "time": iso_time(sample.time),
                "missed": missed,
                "publisher": None if publisher is None else publisher.pid,
                "size": len(sample),
                **_told(sample, manner),
            }
        )
        return
    first, *more = _text(sample, manner).splitlines() or [""]
    clock = f"{time.strftime('%H:%M:%S', time.localtime(sample.time))}.{int(sample.time * 1000) % 1000:03}"
    head = f"{sample.seq:>5}  {clock}"
    lost = f"  ({missed} lost before it)" if missed else ""
    if manner.width is not None:
        first = cut(first, manner.width - len(head) - len(lost) - 2)
        more = [cut(line, manner.width - len(INDENT)) for line in more]
    shown = f"{click.style(head, dim=True)}{click.style(lost, fg='yellow')}  {first}"
    click.echo("\n".join([shown, *(INDENT + line for line in more)]))


def _told(sample: Sample, manner: Manner) -> dict[str, Any]:
    if manner.is_pickle and not manner.unpickles:
        return {"value": {"pickle": len(sample)}}
    try:
        return {"value": manner.limit.plain(sample.value)}
    except Exception as error:
        return {"value": None, "problem": _problem(error)}


def _text(sample: Sample, manner: Manner) -> str:
    if manner.is_pickle and not manner.unpickles:
        return f"a pickle of {len(sample)} bytes; --pickle shows it, if you trust all who can publish here"
    try:
        return message_text(sample.value)
    except Exception as error:
        return _problem(error)


def _problem(error: Exception) -> str:
    return printable(f"it cannot be read: {type(error).__name__}: {error}")


def _refuse_what_it_has_not(feed: Feed, history: int | None, policy: str | None) -> None:
    if isinstance(feed.channel, Latest):
        for option, given in (("--history", history), ("--policy", policy)):
            if given is not None:
                raise ValueError(
                    f"{feed.channel.path}: it is a Latest, which has one value and no {option}: leave it out"
                )
