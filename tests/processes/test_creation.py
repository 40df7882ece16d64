"""Two that create at once: one wins, the other is told, and nobody ever sees half a file."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from samemap import PAGE_SIZE, Region

ROUNDS = 1000
SIZE = PAGE_SIZE + 1

# Both spin to the start of each round, so that the two system calls meet as closely as two processors allow.
RACER = """
import json, os, sys
from samemap import PAGE_SIZE, Region
from pathlib import Path

me, rounds, size = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
bell = Region.open("bell")
home = os.environ["SAMEMAP_DIR"]
results = []

def meet(n):
    bell.fetch_add_u32(0, 1)
    while bell.load_u32(0) < 2 * n:
        os.sched_yield()

def identity(region):
    found = os.fstat(region.fileno())
    return [found.st_dev, found.st_ino, len(region), found.st_size]

try:
    for n in range(rounds):
        name = f"round-{n}"
        meet(2 * n + 1)
        ACT
        # Nobody starts the next round while the other may still be in this one.
        meet(2 * n + 2)
except BaseException:
    # Nobody need wait for this one.
    bell.store_u32(0, 1 << 31)
    raise
print(json.dumps(results))
"""

# Looks at whatever the racers are making, all the time: what is there must be whole.
OBSERVER = """
import os, sys
from samemap import Region

rounds, sizes = int(sys.argv[1]), set(map(int, sys.argv[2].split(",")))
bell = Region.open("bell")
seen = set()
print("watching", flush=True)
while (n := bell.load_u32(0) // 4) < rounds:
    try:
        with Region.open(f"round-{n}", mode="r") as region:
            size = len(region)
            assert size in sizes, f"round {n}: {size} bytes"
            # The racers write to the first word only.
            assert (region[size // 2], region[size - 1]) == (0, 0), f"round {n}: not zeros"
            seen.add(n)
    except FileNotFoundError:
        os.sched_yield()
print(len(seen))
"""


def racer(act: str) -> str:
    return RACER.replace("ACT", textwrap.indent(act.strip(), " " * 8).strip())


@pytest.fixture
def race(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., list[tuple[object, object]]]:
    def run(
        act: str, sizes: tuple[int, int] = (SIZE, SIZE), rounds: int = ROUNDS, must_see: bool = True
    ) -> list[tuple[object, object]]:
        with Region.create("bell", 64):
            observer = start(str(rounds), ",".join(map(str, {*sizes, max(sizes)})), source=OBSERVER)
            assert observer.stdout is not None
            assert observer.stdout.readline() == "watching\n"
            source = racer(act)
            racers = [start(str(me), str(rounds), str(sizes[me]), source=source) for me in range(2)]
            answers = []
            for process in (*racers, observer):
                out, err = process.communicate(timeout=100)
                assert (process.returncode, err) == (0, ""), err
                answers.append(json.loads(out))
            assert answers[2] > 0 or not must_see, "the observer saw nothing at all"
        return list(zip(*answers[:2], strict=True))

    return run


CREATE = """
try:
    with Region.create(name, size) as region:
        results.append(["won", identity(region)])
except FileExistsError as error:
    assert error.filename.endswith(name)
    with Region.open(name) as region:
        results.append(["lost", identity(region)])
"""

OPEN_OR_CREATE = """
with Region(name, size) as region:
    region.fetch_add_u32(0, 1)
    results.append(identity(region))
"""


def test_of_two_that_create_exactly_one_wins(
    race: Callable[..., list[tuple[tuple[str, object], tuple[str, object]]]], runtime_directory: Path
) -> None:
    winners = [0, 0]
    for n, (first, second) in enumerate(race(CREATE)):
        assert sorted([first[0], second[0]]) == ["lost", "won"], f"round {n}: {first[0]} and {second[0]}"
        found = (runtime_directory / f"round-{n}").stat()
        assert first[1] == second[1] == [found.st_dev, found.st_ino, SIZE, SIZE], f"round {n}"
        winners[second[0] == "won"] += 1
    assert sum(winners) == ROUNDS
    # Losers tidy up: no temporary file of theirs is left.
    assert {entry.name for entry in runtime_directory.iterdir()} == {
        "bell",
        *(f"round-{n}" for n in range(ROUNDS)),
    }


def test_two_that_open_or_create_meet_in_one_file(
    race: Callable[..., list[tuple[object, object]]], runtime_directory: Path
) -> None:
    for n, (first, second) in enumerate(race(OPEN_OR_CREATE)):
        found = (runtime_directory / f"round-{n}").stat()
        assert first == second == [found.st_dev, found.st_ino, SIZE, SIZE], f"round {n}"
        with Region.open(f"round-{n}") as region:
            assert region.load_u32(0) == 2, f"round {n}: a write went elsewhere"
    assert len(list(runtime_directory.iterdir())) == ROUNDS + 1


def test_two_that_want_different_sizes_get_the_larger_one(
    race: Callable[..., list[tuple[list[int], list[int]]]], runtime_directory: Path
) -> None:
    sizes = (100, 3 * PAGE_SIZE + 5)
    for n, (small, large) in enumerate(
        race(OPEN_OR_CREATE.replace("fetch_add_u32(0, 1)", "size"), sizes, 300)
    ):
        found = (runtime_directory / f"round-{n}").stat()
        assert small[:2] == large[:2] == [found.st_dev, found.st_ino], f"round {n}"
        assert large[2] == found.st_size == sizes[1], f"round {n}"
        assert small[2] in sizes, f"round {n}"


def test_two_that_fill_an_empty_file_meet_in_it(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    # The tutorial's way: somebody touched the file before. It is kept, since a C program may have it open.
    rounds = 300
    for n in range(rounds):
        (tmp_path / f"round-{n}").touch()
    inodes = [(tmp_path / f"round-{n}").stat().st_ino for n in range(rounds)]
    source = racer(OPEN_OR_CREATE).replace('f"round-{n}"', 'Path(sys.argv[4]) / f"round-{n}"')
    with Region.create("bell", 64):
        racers = [start(str(me), str(rounds), str(SIZE), str(tmp_path), source=source) for me in range(2)]
        answers = []
        for process in racers:
            out, err = process.communicate(timeout=100)
            assert (process.returncode, err) == (0, ""), err
            answers.append(json.loads(out))
    for n, (first, second) in enumerate(zip(*answers, strict=True)):
        assert first == second == [tmp_path.stat().st_dev, inodes[n], SIZE, SIZE], f"round {n}"
        with Region.open(tmp_path / f"round-{n}") as region:
            assert region.load_u32(0) == 2, f"round {n}"


def test_creation_and_removal_at_once_never_show_half_a_file(
    race: Callable[..., list[tuple[object, object]]],
) -> None:
    # Open-or-create must neither find nothing nor be told that it exists, however the two interleave.
    act = """
for _ in range(20):
    with Region(name, size) as region:
        assert len(region) == size, len(region)
        if me == 0:
            region.unlink(missing_ok=True)
results.append(0)
"""
    # What is removed again within microseconds may well escape the observer.
    assert len(race(act, rounds=200, must_see=False)) == 200


def test_two_that_need_the_runtime_directory_at_once_are_both_content(
    race: Callable[..., list[tuple[object, object]]], runtime_directory: Path
) -> None:
    act = """
os.environ["SAMEMAP_DIR"] = f"{home}/directory-{n}"
Region.create(f"mine-{me}", 8).close()
results.append(0)
"""
    race(act, rounds=300, must_see=False)
    for n in range(300):
        directory = runtime_directory / f"directory-{n}"
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {entry.name for entry in directory.iterdir()} == {"mine-0", "mine-1"}
