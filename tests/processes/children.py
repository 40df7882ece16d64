"""What child processes do. A module of its own, because spawned children import it by name."""

from __future__ import annotations

from typing import Any

from samemap import Event, Lock, Region

#: Offsets of words: a sum that children add to, and whether they may leave.
SUM, LEAVE = 0, 4
TEXT = 8

_kept: list[Region] = []


def add(region: Region, number: int) -> tuple[str | None, str, int, int]:
    """Add to the sum, and tell how the region arrived."""
    region.fetch_add_u32(SUM, number)
    region.ring(SUM)
    return region.name, region.mode, region.size, region.max_size


def add_each(pair: tuple[Region, int]) -> int:
    """Add to the sum; return what it was."""
    region, number = pair
    return region.fetch_add_u32(SUM, number)


def keep(region: Region) -> None:
    """Keep the region for `add_to_kept`, as a pool's initializer does."""
    _kept.append(region)


def add_to_kept(number: int) -> None:
    """Add to the sum of the region that the initializer kept."""
    _kept[-1].fetch_add_u32(SUM, number)


def add_from_queue(queue: Any) -> None:
    """Take regions and numbers from a queue until None, and add."""
    while (pair := queue.get(timeout=60)) is not None:
        add_each(pair)


def make_and_put(queue: Any) -> None:
    """Make memory without a name, put it into a queue, and stay until its taker says so."""
    with Region(None, 64) as region:
        region.write_text("made by the child", TEXT)
        queue.put(region)
        while not region.load_u32(LEAVE):
            region.wait(LEAVE, 0, 60)


def make(text: str) -> Region:
    """Return memory without a name that a worker made."""
    region = Region(None, 64)
    region.write_text(text, TEXT)
    return region


def try_to_write(region: Region) -> str:
    """Return the error that writing gives."""
    try:
        region[SUM] = 1
    except TypeError as error:
        return type(error).__name__
    return "nothing"


def grow(region: Region, size: int) -> None:
    """Make it larger, and write at its end."""
    region.resize(size)
    region[-1] = 7


def join_and_stay(lock: Lock, joined: Event, leave: Event) -> None:
    """Take part until told to leave."""
    with lock:
        joined.set()
    leave.wait(60)


def use_all(things: dict[str, Any], parent: int) -> None:
    """Use every kind of object, together with the parent, which holds the lock in the beginning."""
    lock = things["lock"]
    assert lock.on_owner_death == "raise"
    assert lock.acquire(timeout=0.01) is False
    assert lock.holder().pid == parent
    things["permits"].release()
    assert lock.acquire(timeout=60)
    lock.release()
    for name in ("rlock", "bounded", "news", "with lock", "entry"):
        assert things[name].acquire(timeout=60), name
        things[name].release()
    assert things["rw"].acquire_read(timeout=60)
    things["rw"].release_read()
    assert things["space"].lock("entry").acquire(timeout=60)
    things["entry"].release()
    assert things["entry permits"].value == 5
    assert things["counter"].add(2) == 42
    if things["look on"] is not None:
        assert things["look on"].mode == "r"
    things["event"].set()
    assert things["barrier"].wait(60) in (0, 1)
