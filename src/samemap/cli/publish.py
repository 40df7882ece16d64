"""``samemap pub``: publish messages in a topic, or set a newest value."""

from __future__ import annotations

import errno
import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict

import click

from ..exhaustion import Full
from ..latest import Latest
from ..names import resolve
from ..topics import Topic
from .channels import is_in_place
from .display import echo_json, iso_time
from .feeds import open_channel
from .parameters import DURATION, NAME, PERMISSION, Duration, Size, Trust, opening
from .payloads import Payloads
from .write import paced

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["publish"]

EXAMPLES = """\b
Examples:
  samemap pub words --create hello world      made if it is missing
  samemap pub words --every 1s tick tock      in turn, until Ctrl-C
  samemap pub pose '{"x": 1.5, "y": 2}'       a record, or an object
  samemap pub image '[[0, 255], [255, 0]]'    an array; 0 makes it black
  dmesg --follow | samemap pub log --create   each line
  samemap pub camera --file frame.npy         a whole file
"""


class Making(TypedDict):
    """How a topic of bytes is made."""

    slots: int | None
    max_message: int | None
    perm: int


@click.command("pub", epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.argument("values", nargs=-1, metavar="[VALUE]...")
@click.option(
    "--file",
    "file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Publish what is in this file; '-' is standard input.",
)
@click.option("--hex", "in_hex", is_flag=True, help="VALUEs of a topic of bytes are hexadecimal digits.")
@click.option("--every", type=DURATION, help="Publish the VALUEs, or the file, in turn, this far apart, until Ctrl-C.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N messages.")
@click.option("--create", is_flag=True, help="Make a topic of bytes if NAME is missing.")
@click.option(
    "--slots", type=click.IntRange(min=2), metavar="N", help="With --create: room for N messages.  [default: 8]"
)
@click.option("--max-message", type=Size(1), help="With --create: bytes of the largest message.  [default: 64K]")
@click.option("--perm", type=PERMISSION, help="With --create: permissions of the new file.  [default: 600]")
@click.option("--wait", type=Duration(endless=True), help="Wait so long until it exists; or 'inf'.")
@click.option("--wait-subscribers", type=click.IntRange(min=1), metavar="N", help="Wait for N subscriptions first.")
@click.option(
    "--timeout", type=DURATION, help="Fail when no slot is free, or so many subscriptions are not there, for so long."
)
@click.option("-v", "--verbose", is_flag=True, help="Tell on standard error the number of each message.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per message: name, seq, time.")
@opening
def publish(
    name: str,
    values: tuple[str, ...],
    file: str | None,
    in_hex: bool,
    every: float | None,
    count: int | None,
    create: bool,
    slots: int | None,
    max_message: int | None,
    perm: int | None,
    wait: float | None,
    wait_subscribers: int | None,
    timeout: float | None,
    verbose: bool,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Publish each VALUE as a message of the topic NAME, or set the newest value NAME to it.

    What a VALUE is depends on the topic: text for one of bytes; JSON for arrays (lists, a record as an
    object, a single number to fill all of it), and for objects of a type. All are checked before the first
    is published. Without VALUE, each line of standard input is one. Pickles are for programs.

    A file is one message: text as above, or for arrays their bytes in memory, or a .npy of numpy's.

    Each message stays until its slot is needed for another, also when this command has ended: 'samemap
    echo NAME --last 5' shows it. While all slots are pinned, or a subscriber with the policy "block" has
    not read them, this waits.

    A topic that is replaced meanwhile is published in its new place; with --create, one that is removed is
    made again.
    """
    if every is not None and not values and file is None:
        raise click.UsageError("--every needs a VALUE to repeat: samemap pub NAME --every 1s tick")
    if values and file is not None:
        raise click.UsageError("--file is a message by itself: it goes without VALUE")
    if not create and (slots is not None or max_message is not None or perm is not None):
        raise click.UsageError("--slots, --max-message and --perm are for a topic that is made: add --create")
    if create and wait is not None:
        raise click.UsageError("--create makes what is missing: there is nothing to --wait for")
    if not values and file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("nothing to publish: give a VALUE, or pipe lines in")
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    making: Making | None = None
    if create:
        making = {"slots": slots, "max_message": max_message, "perm": 0o600 if perm is None else perm}
    with Outlet(name, trust, making, wait, in_hex) as outlet:
        source: Iterable[Any]
        if values or file is not None:
            if file is not None:
                data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
                messages = [outlet.payloads.of_file(data, "standard input" if file == "-" else repr(file))]
            else:
                # All are looked at before the first is published.
                messages = [outlet.payloads.of_text(os.fsencode(value)) for value in values]
            source = messages if every is None else paced(itertools.cycle(messages), every)
        else:
            source = _lines(outlet, sys.stdin.buffer)
        if wait_subscribers is not None:
            outlet.wait_for_subscribers(wait_subscribers, timeout)
        for message in itertools.islice(source, count):
            number = outlet.put(message, timeout)
            if verbose:
                click.echo(f"published as number {number}", err=True)
            if as_json:
                echo_json({"name": name, "seq": number, "time": iso_time(time.time())})


def _lines(outlet: Outlet, file: IO[bytes]) -> Iterator[Any]:
    for line in file:
        yield outlet.payloads.of_text(line.removesuffix(b"\n"))


class Outlet:
    """A topic or newest value to publish in: made, and found again, as needed.

    Args:
        name: As its user calls it.
        trust: Which files may be opened.
        making: How to make it when it is missing; ``None`` for not at all.
        wait: Seconds to wait until it exists.
        in_hex: Whether text for one of bytes is hexadecimal digits.

    Attributes:
        payloads: Makes its messages.
    """

    def __init__(self, name: str, trust: Trust, making: Making | None, wait: float | None, in_hex: bool) -> None:
        self._name, self._trust, self._making, self._in_hex = name, trust, making, in_hex
        self._path = resolve(name, create=making is not None)
        self._open(wait)

    def _open(self, wait: float | None) -> None:
        while True:
            if self._making is not None:
                # Refuses one that was made with other numbers.
                Topic(self._name, **self._making, **self._trust).close()
            try:
                self._channel = open_channel(self._name, self._trust, wait, "rw")
                break
            except FileNotFoundError as error:
                if self._making is not None:
                    # Somebody has removed it in between: it is made again, like any that was removed.
                    continue
                if wait is None:
                    error.strerror = f"{error.strerror}, --create makes one of bytes"
                raise
        try:
            self.payloads = Payloads(self._channel, self._in_hex)
        except BaseException:
            self._channel.close()
            raise

    def wait_for_subscribers(self, number: int, timeout: float | None) -> None:
        """Wait until so many subscribe.

        Args:
            number: How many.
            timeout: Seconds after which to give up.

        Raises:
            TimeoutError: They were not there in time.
            ValueError: Nobody can subscribe to it.
        """
        if isinstance(self._channel, Latest):
            raise ValueError(f"{self._path}: it is a Latest, to which nobody subscribes: leave out --wait-subscribers")
        if not self._channel.wait_for_subscribers(number, timeout):
            there = self._channel.stats().subscribers
            told = f"{there} of {number} subscriptions were there within {timeout:g} s; 'samemap stat' tells whose"
            raise TimeoutError(errno.ETIMEDOUT, told, self._path)

    def put(self, message: Any, timeout: float | None) -> int:
        """Publish a message.

        Args:
            message: What `payloads` made.
            timeout: Seconds to wait while no slot is free.

        Returns:
            Its number.

        Raises:
            OSError: It was removed; or no slot was free in time.
        """
        self._go_where_it_is()
        if isinstance(self._channel, Latest):
            return self._channel.set(message)
        try:
            return self._channel.publish(message, timeout)
        except Full as error:
            # It tells of each slot, on a line of its own.
            what, *slots = map(str.strip, str(error).splitlines())
            raise TimeoutError(errno.ETIMEDOUT, f"{what.partition(' (')[0]}: {'; '.join(slots)}", self._path) from None

    def _go_where_it_is(self) -> None:
        if not os.path.lexists(self._path):
            if self._making is None:
                raise FileNotFoundError(
                    errno.ENOENT, "somebody has removed it meanwhile; --create makes it again", self._path
                )
        elif is_in_place(self._path, self._channel):
            return
        self._channel.close()
        self._open(None)

    def __enter__(self) -> Outlet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
