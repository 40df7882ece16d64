"""`samemap hexdump`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from samemap import Region, SegmentTruncated
from samemap.cli.hexdump import read_chunks


@pytest.fixture
def raw(runtime_directory):
    """Write bytes as the region "raw"."""

    def write(content: bytes) -> str:
        path = runtime_directory / "raw"
        path.write_bytes(content)
        return str(path)

    return write


def test_a_page_of_text(run, last):
    last.write_text("Hello World")
    assert run("hexdump", "last").output == (
        "00000000  48 65 6c 6c 6f 20 57 6f  72 6c 64 00 00 00 00 00  |Hello World.....|\n"
        "00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
        "*\n"
        "00001000\n"
    )


ZEROS = bytes(200_000)
MIXED = b"".join(bytes([n % 7]) * (n * 5 % 97) for n in range(3000))
CONTENTS = [
    b"x",
    b"0123456789abcdef",
    bytes(range(256)),
    ZEROS,
    ZEROS + b"end",
    b"a" * 65536 + b"b" * 65536,
    MIXED,
]


@pytest.mark.parametrize("content", CONTENTS, ids=len)
@pytest.mark.skipif(shutil.which("hexdump") is None, reason="there is no hexdump(1) to compare with")
@pytest.mark.parametrize("every", [[], ["-v"]], ids=["squeezed", "every-row"])
@pytest.mark.parametrize(
    "part",
    [[], [3, 100], [65530, 70000], [16, 1], [0, 1 << 30]],
    ids=["all", "row", "chunks", "byte", "more"],
)
def test_is_what_hexdump_prints(run, raw, content, every, part):
    path = raw(content)
    if part and part[0] >= len(content):
        assert run("hexdump", "raw", "--offset", str(len(content) + 1)).exit_code == 1
        return
    options = ["--offset", str(part[0]), "--length", str(part[1])] if part else []
    theirs_options = ["-s", str(part[0]), "-n", str(part[1])] if part else []
    theirs = subprocess.run(
        ["hexdump", "-C", *every, *theirs_options, path], capture_output=True, text=True, check=True
    ).stdout
    assert run("hexdump", "raw", *every, *options).output == theirs


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_every_row_holds_every_byte(run, raw, content):
    raw(content)
    *rows, end = run("hexdump", "raw", "-v").output.splitlines()
    assert b"".join(bytes.fromhex(row[10:58]) for row in rows) == content
    assert [int(row[:8], 16) for row in rows] == list(range(0, len(content), 16))
    assert int(end, 16) == len(content)


def test_json_holds_every_byte(run, raw):
    raw(MIXED)
    record = json.loads(run("hexdump", "raw", "--json").output)
    assert bytes.fromhex(record.pop("hex")) == MIXED
    assert record == {"name": "raw", "size": len(MIXED), "offset": 0, "length": len(MIXED)}
    record = json.loads(run("hexdump", "raw", "--json", "--offset", "0x10", "--length", "1K").output)
    assert bytes.fromhex(record["hex"]) == MIXED[16 : 16 + 1024]
    assert (record["offset"], record["length"]) == (16, 1024)


def test_an_offset_outside_is_an_error(run, last, runtime_directory):
    result = run("hexdump", "last", "--offset", "8K")
    assert result.exit_code == 1
    assert result.stderr == (
        f"samemap hexdump: {runtime_directory / 'last'}: offset 8192 is outside the region of 4096 bytes\n"
    )
    assert run("hexdump", "last", "--offset", "4K").output == "00001000\n"


def test_holes_stay_holes(run, runtime_directory):
    with Region.create("sparse", 1 << 28, sparse=True):
        assert run("hexdump", "sparse").output.splitlines()[1:] == ["*", "10000000"]
    assert (runtime_directory / "sparse").stat().st_blocks == 0


def test_truncation_meanwhile_is_an_error(last):
    last.resize(1 << 20)
    chunks = read_chunks(last, 0, last.size)
    assert len(next(chunks)) == 65536
    os.ftruncate(last.fileno(), 70_000)
    assert len(next(chunks)) == 70_000 - 65536
    with pytest.raises(SegmentTruncated, match="somebody truncated the file to 70000 bytes"):
        next(chunks)


def test_through_a_pipe(samemap, last):
    last.resize(1 << 20)  # far more rows than a pipe holds
    program = samemap("hexdump", "last", "-v")
    assert program.stdout.readline().startswith("00000000  00 00")
    program.stdout.close()
    assert program.wait() == 0
    assert program.stderr.read() == ""


def test_missing(run):
    result = run("hexdump", "none")
    assert result.exit_code == 1
    assert "'samemap write' makes it" in result.stderr
