"""``samemap hexdump``: the bytes of a region."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator

import click

from ..errors import SegmentTruncated
from ..region import Region
from .parameters import NAME, SIZE, opening

EXAMPLES = """\b
Examples:
  samemap hexdump last
  samemap hexdump last --offset 4K --length 64
  samemap hexdump last -v | less      every row, also repeated ones
  samemap hexdump last --json | jq -r .hex | xxd -r -p > copy.bin
"""

ROW = 16
CHUNK = 4096 * ROW


@click.command(epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.option("--offset", type=SIZE, default="0", show_default=True, help="First byte to show.")
@click.option("--length", type=SIZE, help="Bytes to show; to the end by default.")
@click.option("-v", "--no-squeezing", "every_row", is_flag=True, help="Show repeated rows, instead of one '*'.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: name, size, offset, length, hex.")
@opening
def hexdump(
    name: str,
    offset: int,
    length: int | None,
    every_row: bool,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Show the bytes of the region NAME, as 'hexdump -C' does.

    Rows that repeat the one before are shown as one '*'. Holes of a sparse region are read without taking
    memory for them.

    Others may write meanwhile: each 64K are copied at once, but not all at one moment.
    """
    with Region.open(name, mode="r", any_owner=any_owner, follow_symlinks=follow_symlinks) as region:
        size = region.size
        if offset > size:
            raise ValueError(f"{region.path}: offset {offset} is outside the region of {size} bytes")
        end = size if length is None else min(size, offset + length)
        chunks = read_chunks(region, offset, end)
        if as_json:
            head = {"name": name, "size": size, "offset": offset, "length": end - offset}
            # Written piece by piece, because a region may be larger than what this process should hold.
            click.echo(json.dumps(head).removesuffix("}") + ', "hex": "', nl=False)
            for chunk in chunks:
                click.echo(chunk.hex(), nl=False)
            click.echo('"}')
        else:
            for lines in rows(chunks, offset, squeeze=not every_row):
                click.echo(lines)


def read_chunks(region: Region, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from ``start`` to ``end``, in pieces of `CHUNK`.

    Raises:
        SegmentTruncated: Somebody truncated the file meanwhile.
    """
    while start < end:
        # Not through the mapping: touching the holes of a sparse file on tmpfs takes pages for them.
        chunk = os.pread(region.fileno(), min(CHUNK, end - start), start)
        if not chunk:
            raise SegmentTruncated(
                errno.EFAULT,
                f"somebody truncated the file to {region.size} bytes, at byte {start} of {end}",
                str(region.path),
            )
        # A short read in the middle must not shift the rows of what follows.
        whole = len(chunk) if start + len(chunk) == end else len(chunk) // ROW * ROW or len(chunk)
        yield chunk[:whole]
        start += whole


def rows(chunks: Iterator[bytes], offset: int, *, squeeze: bool) -> Iterator[str]:
    """Yield lines of a canonical hexdump, many in one string."""
    last = b""
    starred = False
    for chunk in chunks:
        # Gigabytes of zeros pass at the speed of one comparison.
        if squeeze and starred and len(chunk) % ROW == 0 and chunk == last * (len(chunk) // ROW):
            offset += len(chunk)
            continue
        lines = []
        for start in range(0, len(chunk), ROW):
            row = chunk[start : start + ROW]
            if not (squeeze and row == last):
                lines.append(row_line(offset + start, row))
                starred = False
            elif not starred:
                lines.append("*")
                starred = True
            last = row
        offset += len(chunk)
        if lines:
            yield "\n".join(lines)
    yield f"{offset:08x}"


def row_line(offset: int, row: bytes) -> str:
    """Return one line of a canonical hexdump.

    Example:
        >>> row_line(0, b"Hello")
        '00000000  48 65 6c 6c 6f                                    |Hello|'
    """
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
    return f"{offset:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{text}|"
