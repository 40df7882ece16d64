"""``samemap read``: show the text of a region, once or whenever it changes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Generator
from typing import NamedTuple

import click

from ..errors import SegmentTruncated
from ..region import Region
from .display import echo_json, iso_time, listener_gone
from .parameters import DURATION, NAME, Duration, Trust, opening

EXAMPLES = """\b
Examples:
  samemap read last                           the text that is there now
  samemap read last --follow                  each change, until Ctrl-C
  samemap read last -f --count 1 --wait 10s   the first text yet to come
  samemap read last -f --json | jq .time      when the text changed
"""

#: A shell's `> file` empties a file for a moment before it writes: what stays empty for longer was truncated.
EMPTY_MOMENT = 0.05


class Sight(NamedTuple):
    """What a region held at one moment."""

    text: bytes
    size: int
    time: float


@click.command(epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.option("-f", "--follow", is_flag=True, help="Print each change when it happens.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="With --follow: stop after N prints.")
@click.option("--timeout", type=DURATION, help="With --follow: fail when nothing changes for so long.")
@click.option(
    "--poll",
    type=Duration(minimum=0.001),
    default="50ms",
    show_default=True,
    help="With --follow: look at least this often, because a program that only stores wakes nobody.",
)
@click.option(
    "--wait",
    type=Duration(endless=True),
    help="Wait so long for a region that is missing or empty; or 'inf'.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per line: name, text, size, time.")
@opening
def read(
    name: str,
    follow: bool,
    count: int | None,
    timeout: float | None,
    poll: float,
    wait: float | None,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    r"""Print the text at offset 0 of the region NAME, up to its NUL.

    The region is mapped read-only: looking changes nothing, and the permission to read is enough.

    With --follow, print the text that is there, unless it is empty, and then each change. A writer that
    rings ('samemap write' does) wakes this reader at once. A program that only stores never rings, so the
    reader also looks by itself, every --poll. When the file is removed and made again, the reader goes
    over to the new one. When it is truncated, the reader says so and ends.

    A raw region can promise no more than memory does. The reader reads until two reads agree: it can
    still catch a longer text half written, and it never sees a text that was replaced before it looked. A
    new text that starts with the same four bytes as the last can find the reader just between its look
    and its sleep; then the next --poll shows it.

    The bytes are printed as they are; in JSON, those that are not UTF-8 are written as \xNN.
    """
    if not follow and (count is not None or timeout is not None):
        raise click.UsageError(f"{'--count' if count is not None else '--timeout'} needs --follow")
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    region = Region.open(name, mode="r", wait=wait, **trust)
    if not follow:
        with region:
            show(name, look(region), as_json)
        return
    with contextlib.closing(changes(name, region, poll, timeout, trust)) as sights:
        for sight in itertools.islice(sights, count):
            show(name, sight, as_json)


def show(name: str, sight: Sight, as_json: bool) -> None:
    """Print what was seen, at once."""
    if as_json:
        text = sight.text.decode(errors="backslashreplace")
        echo_json({"name": name, "text": text, "size": sight.size, "time": iso_time(sight.time)})
    else:
        click.echo(sight.text)


def look(region: Region) -> Sight:
    """Return the text of a region now.

    Raises:
        SegmentTruncated: There is nothing left of it.
    """
    size = region.size
    if size == 0:
        raise SegmentTruncated(errno.EFAULT, "somebody truncated the file to 0 bytes", str(region.path))
    return Sight(region.read_cstring(), size, time.time())


def changes(name: str, region: Region, poll: float, timeout: float | None, trust: Trust) -> Generator[Sight]:
    """Yield what a region holds, unless that is empty, and then each change; closes the region.

    Args:
        name: Its name, under which another file may appear.
        region: The region.
        poll: Seconds between two looks when nobody rings.
        timeout: Seconds without a change after which to give up.
        trust: ``any_owner`` and ``follow_symlinks``, as for `Region`.

    Raises:
        TimeoutError: Nothing changed for ``timeout`` seconds.
        SegmentTruncated: Somebody truncated the file.
        BrokenPipeError: Nobody reads standard output any more.
    """
    shown = b""
    changed = time.monotonic()
    try:
        while True:
            try:
                # The word first: a change after this makes the sleep below end at once.
                word = region.load_u32(0) if region.size >= 4 else None
                sight = look(region)
            except (SegmentTruncated, IndexError):
                region = _after_truncation(name, region, trust)
                continue
            if sight.text != shown:
                yield sight
                shown = sight.text
                changed = time.monotonic()
            if listener_gone():
                raise BrokenPipeError
            left = poll
            if timeout is not None:
                left = min(poll, changed + timeout - time.monotonic())
                if left <= 0:
                    raise TimeoutError(
                        errno.ETIMEDOUT,
                        f"nothing changed for {timeout:g} s; 'samemap stat' tells who maps it",
                        str(region.path),
                    )
            _sleep(region, word, left)
            region = _in_its_place(name, region, trust)
    finally:
        region.close()


def _sleep(region: Region, word: int | None, seconds: float) -> None:
    if word is None:
        time.sleep(seconds)  # less than four bytes have no room for a bell
        return
    try:
        region.wait(0, word, seconds)
    except (SegmentTruncated, IndexError):
        # The next look tells.
        return


def _in_its_place(name: str, region: Region, trust: Trust) -> Region:
    """Return the region that has the name now: the same one, while there is no other."""
    try:
        assert region.path is not None  # noqa: S101 - it was opened by name
        if os.path.samestat(region.path.stat(), os.fstat(region.fileno())):
            return region
        other = Region.open(name, mode="r", **trust)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODATA):
            return region  # removed, or its successor has no size yet
        raise
    region.close()
    return other


def _after_truncation(name: str, region: Region, trust: Trust) -> Region:
    """Return the region again, if it was only emptied to be written anew."""
    before = region.path
    region.close()
    time.sleep(EMPTY_MOMENT)
    try:
        return Region.open(name, mode="r", **trust)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODATA):
            raise
        raise SegmentTruncated(
            errno.EFAULT, "somebody truncated the file to 0 bytes while it was followed", str(before)
        ) from error
