"""`ReadWriteLock` within one process."""

from __future__ import annotations

import os
import threading

import pytest
from isolated import until

from samemap import AcquireTimeout, ReadWriteLock


def test_many_read_and_nobody_writes() -> None:
    table = ReadWriteLock()
    with table.reading(), table.reading():
        assert [(reader.pid, reader.alive, reader.count) for reader in table.readers()] == [(os.getpid(), True, 2)]
        assert table.acquire_write(blocking=False) is False
        assert table.acquire_write(timeout=0.01) is False
        assert table.holder() is None
    assert table.readers() == []
    assert table.acquire_write(blocking=False) is True


def test_one_writes_and_nobody_reads() -> None:
    table = ReadWriteLock()
    with table.writing() as entered:
        assert entered is table
        assert table.acquire_read(blocking=False) is False
        assert table.acquire_read(timeout=0.01) is False
        assert table.acquire_write(timeout=0.01) is False
        holder = table.holder()
        assert holder is not None
        assert (holder.pid, holder.thread) == (os.getpid(), None)
    assert table.holder() is None


def test_who_is_late_is_told_who_writes() -> None:
    table = ReadWriteLock("table")
    late = pytest.raises(AcquireTimeout, match=f"ReadWriteLock 'table' .* pid {os.getpid()}")
    with table.writing(), late as caught, table.reading(timeout=0.01):
        pass
    assert caught.value.holder is not None
    with table.reading(), pytest.raises(AcquireTimeout) as caught, table.writing(timeout=0.01):
        pass
    # Many read: none of them is the holder.
    assert caught.value.holder is None
    with table.writing(timeout=0):
        pass


def test_a_writer_that_waits_keeps_new_readers_out() -> None:
    table = ReadWriteLock()
    wrote = threading.Event()

    def write() -> None:
        with table.writing():
            wrote.set()

    with table.reading():
        writer = threading.Thread(target=write)
        writer.start()
        until(lambda: table.stats().waiting == 1, "a waiting writer")
        assert table.acquire_read(blocking=False) is False
        assert repr(table) == f"<samemap.ReadWriteLock anonymous waited for by the writer pid {os.getpid()}>"
        assert not wrote.is_set()
    writer.join(60)
    assert wrote.is_set()


def test_readers_and_writers_exclude_each_other() -> None:
    table = ReadWriteLock()
    pair = [0, 0]
    torn: list[object] = []

    def write() -> None:
        for number in range(200):
            with table.writing():
                pair[0] = number
                pair[1] = number

    def read() -> None:
        for _ in range(200):
            with table.reading():
                if pair[0] != pair[1]:
                    torn.append(pair)

    threads = [threading.Thread(target=work) for work in (write, write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (torn, pair) == ([], [199, 199])


def test_what_is_not_held_cannot_be_released() -> None:
    table = ReadWriteLock()
    with pytest.raises(RuntimeError):
        table.release_read()
    with pytest.raises(RuntimeError):
        table.release_write()
    with table.reading(), pytest.raises(RuntimeError):
        table.release_write()


def test_it_tells_the_truth() -> None:
    table = ReadWriteLock("table")
    assert repr(table) == "<samemap.ReadWriteLock 'table' free>"
    with table.reading():
        assert repr(table) == f"<samemap.ReadWriteLock 'table' read by pid {os.getpid()}>"
        assert [who.role for who in table.participants()] == ["reader"]
        assert (table.stats().writer, table.stats().readers) == (None, tuple(table.readers()))
    with table.writing():
        assert repr(table) == f"<samemap.ReadWriteLock 'table' written by pid {os.getpid()}>"
        assert [who.role for who in table.participants()] == ["writer"]
        assert (table.stats().writer, table.stats().readers) == (table.holder(), ())
    assert (table.stats().recoveries, table.stats().sleeps, table.recovered) == (0, 0, False)
