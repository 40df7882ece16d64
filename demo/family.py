"""Scenes with parents and children, who share a mapping because one inherited it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import greeting
from processes import Processes
from screen import Screen, check
from waiting import child_of, wait_for_change

from samemap import PAGE_SIZE, Region

#: Where the child notes what it found, for the parent to see.
FOUND = 128
EXCHANGES = 1000

QUESTION = 0
ANSWERS = 64
COUNTER = 1024
CHILDREN = 3
ADDITIONS = 100_000


def _answer(region: Region, still_there: Callable[[], None]) -> None:
    region.write_text(greeting.read(region), FOUND, greeting.TEXT_SIZE)
    greeting.put(region, "World")
    seen = 1
    for _ in range(EXCHANGES):
        seen = greeting.next_change(region, seen, still_there).changes + 1
        greeting.put(region, "World")


def over_a_file(screen: Screen, processes: Processes) -> None:
    """Parent and child share a file-backed mapping."""
    code = 'region = Region("family", 4096)\nos.fork()                           # the child has the same memory'
    screen.scene(1, "Parent and child share a mapped file", code)
    me = os.getpid()
    with Region.create("family", greeting.SIZE) as region:
        region.write_text("Hello", greeting.TEXT, greeting.TEXT_SIZE)
        screen.line("parent", me, f'maps {region.path}, writes "Hello"')
        child = processes.fork("child", _answer, region, child_of(me))
        change = greeting.next_change(region, 0, processes.still_there)
        found = region.read_text(FOUND, greeting.TEXT_SIZE)
        screen.line("child", child.pid, f'finds "{found}", replaces it with "{change.text}", rings the bell')
        screen.line("parent", me, f'sees "{change.text}"', change.microseconds)
        check(
            (found, change.text) == ("Hello", "World"),
            f"the child found {found!r}, the parent {change.text!r}",
        )

        started = time.perf_counter()
        seen = change.changes
        for _ in range(EXCHANGES):
            seen += 1
            greeting.put(region, "Hello")
            seen = greeting.next_change(region, seen, processes.still_there).changes
        each_way = (time.perf_counter() - started) / EXCHANGES / 2 * 1e6
        child.finish()
        path = Path(str(region.path))
        in_file = path.read_bytes()[:5].decode()
        check(in_file == "World", f"the file holds {in_file!r} and not 'World'")
        screen.line("parent", me, f"{EXCHANGES:,} more exchanges with it: {each_way:.0f} µs each way")
        screen.proved('One file, two processes; `cat` would find "World" in it, too.')
        region.unlink()
    check(not path.exists(), f"{path} is still there")


def _child(region: Region, index: int, still_there: Callable[[], None]) -> None:
    wait_for_change(region, QUESTION, 0, still_there)
    word = ANSWERS + 64 * index
    region.store_u32(word, region.load_u32(QUESTION) * (index + 2))
    region.ring(word)
    for _ in range(ADDITIONS):
        region.fetch_add_u64(COUNTER, 1)


def without_a_name(screen: Screen, processes: Processes) -> None:
    """A parent and its children share anonymous memory, both ways."""
    code = "region = Region(None, 4096)         # no file, no name\nregion.fetch_add_u64(1024, 1)       # atomic"
    screen.scene(3, "An anonymous mapping, parent and children, both ways", code)
    me = os.getpid()
    with Region(None, PAGE_SIZE) as region:
        still_there = child_of(me)
        children = [processes.fork(f"child {n + 1}", _child, region, n, still_there) for n in range(CHILDREN)]
        region.store_u32(QUESTION, 21)
        region.ring(QUESTION)
        screen.line("parent", me, "writes 21 for all of them, and rings the bell")
        for n, child in enumerate(children):
            answer = wait_for_change(region, ANSWERS + 64 * n, 0, processes.still_there)
            check(answer == (n + 2) * 21, f"{child} answered {answer}, not {(n + 2) * 21}")
            screen.line(child.role, child.pid, f"answers {n + 2} x 21 = {answer}")
        for child in children:
            child.finish()
        total = region.load_u64(COUNTER)
        screen.line("parent", me, f"each child added 1 to one number {ADDITIONS:,} times: {total:,}")
        check(total == CHILDREN * ADDITIONS, f"{CHILDREN * ADDITIONS - total:,} additions were lost")
        screen.proved("Both ways, and not one addition lost, without a lock.")
