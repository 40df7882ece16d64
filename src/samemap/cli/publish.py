"""``samemap pub``: publish messages in a topic, or set a newest value."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import click

from ..latest import Latest
from ..topics import Topic
from .feeds import open_channel
from .message_types import type_of
from .parameters import DURATION, NAME, Duration, Size, Trust, opening
from .write import paced

__all__ = ["publish"]

EXAMPLES = """\b
Examples:
  samemap pub words --create hello world      made if it is missing
  samemap pub words --every 1s tick tock      in turn, until Ctrl-C
  samemap pub pose '{"x": 1.5, "y": 2}'       a record, or an object
  samemap pub image '[[0, 255], [255, 0]]'    an array
  dmesg --follow | samemap pub log --create   each line
"""


@click.command("pub", epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.argument("values", nargs=-1, metavar="[VALUE]...")
@click.option("--create", is_flag=True, help="Make a topic of bytes if NAME is missing.")
@click.option(
    "--slots", type=click.IntRange(min=2), metavar="N", help="With --create: room for N messages.  [default: 8]"
)
@click.option("--max-message", type=Size(1), help="With --create: bytes of the largest message.  [default: 64K]")
@click.option("--hex", "in_hex", is_flag=True, help="VALUEs of a topic of bytes are hexadecimal digits.")
@click.option("--every", type=Duration(), help="Publish the VALUEs in turn, so often, until Ctrl-C.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N messages.")
@click.option("--wait", type=Duration(endless=True), help="Wait so long until it exists; or 'inf'.")
@click.option("--wait-subscribers", type=click.IntRange(min=1), metavar="N", help="Wait for N subscriptions first.")
@click.option("--timeout", type=DURATION, help="Fail when no slot is free for so long.")
@click.option("-v", "--verbose", is_flag=True, help="Print the number of each message.")
@opening
def publish(
    name: str,
    values: tuple[str, ...],
    create: bool,
    slots: int | None,
    max_message: int | None,
    in_hex: bool,
    every: float | None,
    count: int | None,
    wait: float | None,
    wait_subscribers: int | None,
    timeout: float | None,
    verbose: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Publish each VALUE as a message of the topic NAME, or set the newest value NAME to it.

    What a VALUE is depends on the topic: text for one of bytes; JSON for arrays (lists, a record as an
    object or a list), and for objects of a type. It is checked before anything is published. Without VALUE,
    each line of standard input is one. Pickles are for programs.
    """
    if every is not None and not values:
        raise click.UsageError("--every needs a VALUE to repeat: samemap pub NAME --every 1s tick")
    if not create and (slots is not None or max_message is not None):
        raise click.UsageError("--slots and --max-message are for a topic that is made: add --create")
    if not values and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("nothing to publish: give a VALUE, or pipe lines in")
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    if create:
        Topic(name, slots=slots, max_message=max_message, **trust).close()
    with closing(open_channel(name, trust, wait, "rw")) as channel:
        convert = _converter(channel, in_hex)
        source: Iterable[Any]
        if values:
            # All are looked at before the first is published.
            messages = [convert(os.fsencode(value)) for value in values]
            for message in messages:
                channel._codec.encode(message)
            source = messages if every is None else paced(itertools.cycle(messages), every)
        else:
            source = (convert(line.removesuffix(b"\n")) for line in sys.stdin.buffer)
        if wait_subscribers is not None:
            if isinstance(channel, Latest):
                raise ValueError(f"{channel.path}: it is a Latest, to which nobody subscribes: leave it out")
            channel.wait_for_subscribers(wait_subscribers)
        for message in itertools.islice(source, count):
            number = channel.set(message) if isinstance(channel, Latest) else channel.publish(message, timeout)
            if verbose:
                click.echo(f"published as number {number}", err=True)


def _converter(channel: Topic | Latest, in_hex: bool) -> Callable[[bytes], Any]:
    """Return what turns text into a message."""
    if in_hex and channel.codec != "bytes":
        raise ValueError(f"{channel.path}: --hex is for bytes, and its messages are of codec {channel.codec}")
    if channel.codec == "pickle":
        raise ValueError(f"{channel.path}: its messages are pickles, which only a program can make")
    if channel.codec == "bytes":
        return (lambda text: bytes.fromhex(text.decode())) if in_hex else bytes
    if channel.codec == "numpy":
        dtype = channel.dtype
        return lambda text: _elements(_parsed(text), dtype)
    import msgspec

    kind = type_of({key: channel._fields().get(key) for key in ("type", "types")})
    return lambda text: msgspec.to_builtins(msgspec.json.decode(text, type=kind))


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text.decode(errors='replace')!r} is no JSON: {error}") from None


def _elements(value: Any, dtype: Any) -> Any:
    """Return lists of numbers as they are, and records as tuples."""
    if dtype.names is None:
        return value
    if isinstance(value, dict):
        if unknown := sorted(value.keys() ^ set(dtype.names)):
            raise ValueError(
                f"a record has the fields {', '.join(dtype.names)}; what does not fit: {', '.join(unknown)}"
            )
        return tuple(_elements(value[name], dtype[name].base) for name in dtype.names)
    return [_elements(each, dtype) for each in value] if isinstance(value, list) else value
