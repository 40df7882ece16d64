"""Single bytes and atomic words: what a call costs, against what the interpreter can do with memory of its own."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import timeit

from report import Figure

from samemap import Region

CALLS = 100_000
RUNS = 50
BAR = 60.0


def turn(statement: str, **names: object) -> float:
    """Return the nanoseconds of one turn of a loop: the best of many runs, since all noise adds."""
    best = min(timeit.repeat(statement, globals=names, number=CALLS, repeat=RUNS))
    return best / CALLS * 1e9


def nanoseconds(statement: str, **names: object) -> float:
    """Return the nanoseconds of the statement, without those of the loop around it."""
    return turn(statement, **names) - turn("pass")


def measure() -> list[Figure]:
    """Measure them all, and return the figures."""
    region = Region(None, 4096)
    mapped = mmap.mmap(-1, 4096)
    value = multiprocessing.Value(ctypes.c_int64)
    indexed = nanoseconds("m[8]", m=mapped)
    locked = nanoseconds("with value.get_lock(): value.value += 1", value=value)
    figures = [_cheap("region[8]", "mmap[8]", indexed, region)]
    figures += [_cheap("region[8] = 1", "mmap[8] = 1", nanoseconds("m[8] = 1", m=mapped), region)]
    for call in ("load_u32(8)", "store_u32(8, 1)", "load_u64(8)", "store_u64(8, 1)"):
        figures.append(_cheap(f"region.{call}", "mmap[8], which is not atomic", indexed, region))
    for call in ("fetch_add_u32(8, 1)", "fetch_add_u64(8, 1)", "compare_exchange_u32(8, 0, 0)"):
        figures.append(_cheap(f"region.{call}", "multiprocessing.Value += 1 under its lock", locked, region))
    region.close()
    mapped.close()
    return figures


def _cheap(statement: str, peer: str, peer_takes: float, region: Region) -> Figure:
    region.store_u64(8, 0)
    takes = nanoseconds(statement, region=region)
    return Figure(statement, takes, peer, peer_takes, f"under {BAR:.0f} ns", takes < BAR)
