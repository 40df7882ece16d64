"""Hundreds of truncations under readers and writers that never rest: whatever the moment, they live."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from isolated import truncate

from samemap import PAGE_SIZE, Region

READER = """
import sys, threading
import numpy as np
from samemap import Region, SegmentTruncated

path, threads = sys.argv[1], int(sys.argv[2])
flag = Region.open("flag")
region = Region.open(path)
size = len(region)
array = region.array()
told = [0] * threads
wrong = []

def read(me):
    try:
        while not flag[4 * me]:
            # Bytes are 'x' or, where they were away in between, zero.
            total = int(array.sum(dtype="u8"))
            if total % ord("x"):
                wrong.append(total)
            try:
                region[size - 1], region[:], region.load_u32(size - 4), region.wait(size - 4, 1, 0)
                region.read_text(size - 100)
            except SegmentTruncated:
                told[me] += 1
                flag.fetch_add_u32(1024, 1)
    except BaseException as error:
        wrong.append(repr(error))

workers = [threading.Thread(target=read, args=(me,)) for me in range(threads)]
for worker in workers:
    worker.start()
print("reading", flush=True)
for worker in workers:
    worker.join()
assert not wrong, wrong[:3]
assert all(told), told
try:
    region[size - 1]
except SegmentTruncated:
    pass
assert region[size - 1] in (0, ord("x"))
print("done", flush=True)
"""


@pytest.mark.parametrize("threads", [1, 4])
def test_reader_in_a_loop_survives_hundreds_of_truncations(
    threads: int, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    path, size = tmp_path / "file", 64 * PAGE_SIZE
    path.write_bytes(b"x" * size)
    with Region.create("flag", 2048) as flag:
        reader = start(str(path), str(threads), source=READER)
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n", reader.stderr and reader.stderr.read()
        for n in range(300):
            with path.open("r+b") as file:
                file.truncate([0, 1, PAGE_SIZE, size // 2, size - 1][n % 5])
                file.truncate(size)
                file.write(b"x" * (size if n % 3 else PAGE_SIZE))
        # The last one stays until every thread has been told.
        truncate(path, PAGE_SIZE)
        told = flag.load_u32(1024)
        while flag.load_u32(1024) < told + 20 * threads:
            assert reader.poll() is None, reader.stderr and reader.stderr.read()
        truncate(path, size)
        for me in range(threads):
            flag[4 * me] = 1
        out, err = reader.communicate(timeout=60)
    assert (reader.returncode, out, err) == (0, "done\n", "")


def test_writer_in_a_loop_survives_hundreds_of_truncations(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    source = """
import sys
from samemap import Region, SegmentTruncated
region, flag = Region.open(sys.argv[1]), Region.open("flag")
size, told = len(region), 0
array = region.array()
print("writing", flush=True)
while not flag[0]:
    array[:] = 7
    try:
        region[:] = bytes(size)
        region.fetch_add_u64(size - 8, 1)
        region.write_text("Hello", size - 100)
    except SegmentTruncated:
        told += 1
        flag.fetch_add_u32(4, 1)
assert told
region.resize(size)
region[-1] = 1
print("done")
"""
    path, size = tmp_path / "file", 64 * PAGE_SIZE
    path.write_bytes(bytes(size))
    with Region.create("flag", 64) as flag:
        writer = start(str(path), source=source)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        for n in range(300):
            with path.open("r+b") as file:
                file.truncate([0, 1, PAGE_SIZE, size // 2, size - 1][n % 5])
                file.truncate(size)
        truncate(path, PAGE_SIZE)
        told = flag.load_u32(4)
        while flag.load_u32(4) < told + 20:
            assert writer.poll() is None, writer.stderr and writer.stderr.read()
        flag[0] = 1
        out, err = writer.communicate(timeout=60)
    assert (writer.returncode, out, err) == (0, "done\n", "")
    assert path.stat().st_size == size
