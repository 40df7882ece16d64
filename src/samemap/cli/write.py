"""``samemap write``: put text into a region, and wake its readers."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from .._core import PAGE_SIZE
from ..names import resolve
from ..region import Region
from .display import echo_json, iso_time, printable
from .parameters import DURATION, NAME, PERMISSION, Size, Trust, opening
from .segments import refuse_segment

if TYPE_CHECKING:
    from types import TracebackType

EXAMPLES = """\b
Examples:
  samemap write last Hello World              one text, 'Hello World'
  samemap write last --every 1s Hello World   'Hello', then 'World', ...
  tail -f syslog | samemap write last         each line as it comes
  samemap write page --all < index.html       the whole file as one text
"""


@click.command(epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--every", type=DURATION, help="Write one TEXT after the other, this far apart, round and round.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N writes.")
@click.option("--all", "whole", is_flag=True, help="Take standard input as one text, without its last newline.")
@click.option(
    "--size",
    type=Size(minimum=1),
    help="Make the region this big, or grow it to this; text that needs more is an error, however big the region "
    "is. By default it is made with 4K, and grows when a text needs more.",
)
@click.option("--perm", type=PERMISSION, default="600", show_default=True, help="Permissions of a new file.")
@click.option("--force", is_flag=True, help="Write also into a segment, which destroys the object that it holds.")
@click.option("-v", "--verbose", is_flag=True, help="Tell on standard error what is written, and how many woke.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per write: name, text, woken, size, time.")
@opening
def write(
    name: str,
    texts: tuple[str, ...],
    every: float | None,
    count: int | None,
    whole: bool,
    size: int | None,
    perm: int,
    force: bool,
    verbose: bool,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Write text into the region NAME, and wake its readers.

    The text starts at offset 0 and ends with a NUL byte, as C programs keep it. Then the bell rings at
    offset 0: whoever sleeps on that word ('samemap read --follow', or a C program in futex(2)) wakes.

    Several TEXTs are joined by spaces, as echo does; with --every they are written in turn. Without TEXT,
    each line of standard input is one text, written as it arrives; --all takes the whole input as one.

    A region that is missing or empty is made. One that is too small grows, also under those who map it.
    One that is removed meanwhile is made again, and one that is replaced is written in its new place.

    A segment is refused, because it holds a lock or another object of samemap's, which text would destroy.

    A raw region can promise no more than memory does: the next text replaces the last whether or not
    anybody has read it, and a reader may look while you write.
    """
    if whole and (texts or every is not None or count is not None):
        raise click.UsageError("--all writes standard input once: it goes with neither TEXT, --every nor --count")
    if every is not None and not texts:
        raise click.UsageError("--every needs a TEXT to repeat: samemap write NAME --every 1s Hello World")
    if count is not None and texts and every is None:
        raise click.UsageError("--count needs --every, or lines on standard input: TEXT alone is written once")
    # A shell can start programs without standard input (<&-).
    if not texts and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("nothing to write: give a TEXT, or pipe one in (echo Hello | samemap write NAME)")

    source: Iterable[bytes]
    if texts and every is None:
        source = [os.fsencode(" ".join(texts))]
    elif texts:
        source = paced(itertools.cycle(map(os.fsencode, texts)), every or 0.0)
    elif whole:
        source = [sys.stdin.buffer.read().removesuffix(b"\n")]
    else:
        source = (line.removesuffix(b"\n") for line in sys.stdin.buffer)

    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    with Writer(name, size, perm, trust, force=force) as writer:
        for text in itertools.islice(source, count):
            woken = writer.write(text)
            if verbose:
                click.echo(f"{printable(os.fsdecode(text))} (woke {woken})", err=True)
            if as_json:
                shown = text.decode(errors="backslashreplace")
                record = {"name": name, "text": shown, "woken": woken, "size": writer.size}
                echo_json({**record, "time": iso_time(time.time())})


def paced(texts: Iterable[bytes], every: float) -> Iterator[bytes]:
    """Yield texts ``every`` seconds apart; time that the consumer takes does not add up."""
    due = time.monotonic()
    for text in texts:
        yield text
        # After a stop (Ctrl-Z, a suspended laptop) it goes on from now: nobody wants what was missed at once.
        due = max(due + every, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


class Writer:
    """The writing end of a region: made, grown and found again as needed.

    Args:
        name: The region.
        size: Bytes that it has at least, and texts at most; ``None`` to grow as they need.
        perm: Permission bits of a file that is made.
        trust: Which files may be opened.
        force: Write into segments, too.
    """

    def __init__(self, name: str, size: int | None, perm: int, trust: Trust, *, force: bool = False) -> None:
        self._name = name
        self._size = size
        self._perm = perm
        self._trust = trust
        self._force = force
        self._region: Region | None = None

    @property
    def size(self) -> int:
        """Bytes of the region now; 0 before the first text."""
        return 0 if self._region is None else self._region.size

    def write(self, text: bytes) -> int:
        """Write one text and ring.

        Args:
            text: Bytes without a NUL.

        Returns:
            How many sleepers woke.

        Raises:
            ValueError: It holds a NUL, or does not fit into the size that was asked for; the file is a segment.
            OSError: The region cannot be opened, made or grown.
        """
        if b"\0" in text:
            raise ValueError(
                f"{self._name}: the text holds a NUL at byte {text.index(0)}, which would end it there; "
                "remove it first (tr -d '\\0')"
            )
        needed = len(text) + 1
        if self._size is not None and needed > self._size:
            raise ValueError(
                f"{self._name}: the text needs {needed} bytes with its NUL, "
                f"and --size allows {self._size}; leave it out, and the region grows"
            )
        region = self._current(needed)
        if region.size < needed:
            region.resize(self._size or _whole_pages(needed))
        region.write_cstring(text)
        # A futex word is four bytes.
        return region.ring(0) if region.size >= 4 else 0

    def _current(self, needed: int) -> Region:
        if self._region is not None:
            if _is_in_place(self._region):
                return self._region
            self._region.close()
        self._region = self._open(needed)
        return self._region

    def _open(self, needed: int) -> Region:
        if not self._force:
            refuse_segment(resolve(self._name), "text would destroy it")
        if self._size is None:
            try:
                return Region.open(self._name, **self._trust)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODATA):
                    raise
        return Region(self._name, self._size or _whole_pages(needed), perm=self._perm, **self._trust)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._region is not None:
            self._region.close()


def _is_in_place(region: Region) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if region.path is not None:
            return os.path.samestat(region.path.stat(), os.fstat(region.fileno()))
    return False


def _whole_pages(size: int) -> int:
    return -(-size // PAGE_SIZE) * PAGE_SIZE
