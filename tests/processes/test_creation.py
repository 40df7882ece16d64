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

# Two racers spin to the start of each round, so that their system calls overlap. A third process observes
# every other round, and sleeps through the rest, which leaves two processors to the racers.
START = """
import json, os, sys
from samemap import PAGE_SIZE, Region
from pathlib import Path

me, rounds, size, watch = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
bell = Region.open("bell")
home = os.environ["SAMEMAP_DIR"]
results = []
ARRIVED, ROUND, SEEN, FAILED = 0, 4, 8, 1 << 31

def fail(*error):
    # Nobody need wait for this one.
    for word in (ARRIVED, ROUND, SEEN):
        bell.store_u32(word, FAILED)
        bell.ring(word)
    sys.__excepthook__(*error)

sys.excepthook = fail

def reach(word, value):
    while (found := bell.load_u32(word)) < value:
        bell.wait(word, found)

def tell(word, value):
    bell.store_u32(word, value)
    bell.ring(word)
"""

RACE = """
def meet(n):
    bell.fetch_add_u32(ARRIVED, 1)
    turns = 0
    while bell.load_u32(ARRIVED) < 2 * n:
        turns += 1
        if turns > 20_000:
            os.sched_yield()

def identity(region):
    found = os.fstat(region.fileno())
    return [found.st_dev, found.st_ino, len(region), found.st_size]

for n in range(rounds):
    name = f"round-{n}"
    if me == 0:
        tell(ROUND, n)
    meet(2 * n + 1)
    # So that one is now a little ahead of the other, now behind.
    for _ in range(n * (me + 1) % 61):
        pass
    ACT
    if n % 2 and watch == "must see":
        reach(SEEN, n)
    # Nobody starts the next round while the other may still be in this one.
    meet(2 * n + 2)
print(json.dumps(results))
"""

# Looks from the first moment on: whatever is there must be whole.
OBSERVE = """
sizes = set(map(int, sys.argv[5].split(",")))
for n in range(1, rounds, 2):
    reach(ROUND, n)
    while bell.load_u32(ARRIVED) < FAILED:
        try:
            with Region.open(f"round-{n}", mode="r") as region:
                found = len(region)
                assert found in sizes, f"round {n}: {found} bytes"
                # The racers write to the first word only.
                assert (region[found // 2], region[found - 1]) == (0, 0), f"round {n}: not zeros"
            results.append(n)
            break
        except FileNotFoundError:
            if watch == "may miss" and bell.load_u32(ARRIVED) >= 2 * (2 * n + 2):
                break
    tell(SEEN, n)
print(json.dumps(results))
"""


def racer(act: str) -> str:
    return START + RACE.replace("ACT", textwrap.indent(act.strip(), " " * 4).strip())


@pytest.fixture
def race(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., list[tuple[object, object]]]:
    def run(
        act: str,
        sizes: tuple[int, int] = (SIZE, SIZE),
        rounds: int = ROUNDS,
        watch: str = "must see",
    ) -> list[tuple[object, object]]:
        with Region.create("bell", 64):
            processes = [start(str(me), str(rounds), str(sizes[me]), watch, source=racer(act)) for me in range(2)]
            if watch != "do not look":
                found = ",".join(map(str, sizes))
                processes.append(start("2", str(rounds), "0", watch, found, source=START + OBSERVE))
            answers = []
            for process in processes:
                out, err = process.communicate(timeout=100)
                assert (process.returncode, err) == (0, ""), err
                answers.append(json.loads(out))
        if watch == "must see":
            assert answers[2] == list(range(1, rounds, 2))
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
    rounds = race(OPEN_OR_CREATE)
    assert len(rounds) == ROUNDS
    for n, (first, second) in enumerate(rounds):
        found = (runtime_directory / f"round-{n}").stat()
        assert first == second == [found.st_dev, found.st_ino, SIZE, SIZE], f"round {n}"
        with Region.open(f"round-{n}") as region:
            assert region.load_u32(0) == 2, f"round {n}: a write went elsewhere"
    assert len(list(runtime_directory.iterdir())) == ROUNDS + 1


def test_two_that_want_different_sizes_get_the_larger_one(
    race: Callable[..., list[tuple[list[int], list[int]]]], runtime_directory: Path
) -> None:
    sizes = (100, 3 * PAGE_SIZE + 5)
    for n, (small, large) in enumerate(race(OPEN_OR_CREATE.replace("fetch_add_u32(0, 1)", "size"), sizes, rounds=300)):
        found = (runtime_directory / f"round-{n}").stat()
        assert small[:2] == large[:2] == [found.st_dev, found.st_ino], f"round {n}"
        assert large[2] == found.st_size == sizes[1], f"round {n}"
        assert small[2] in sizes, f"round {n}"


def test_two_that_fill_an_empty_file_meet_in_it(
    race: Callable[..., list[tuple[object, object]]], runtime_directory: Path
) -> None:
    # The tutorial's way: somebody touched the file before. It is kept, since a C program may have it open.
    rounds = 300
    for n in range(rounds):
        (runtime_directory / f"round-{n}").touch()
    inodes = [(runtime_directory / f"round-{n}").stat().st_ino for n in range(rounds)]
    for n, (first, second) in enumerate(race(OPEN_OR_CREATE, rounds=rounds, watch="do not look")):
        assert first == second == [runtime_directory.stat().st_dev, inodes[n], SIZE, SIZE], f"round {n}"
        with Region.open(f"round-{n}") as region:
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
    assert len(race(act, rounds=200, watch="may miss")) == 200


def test_two_that_need_the_runtime_directory_at_once_are_both_content(
    race: Callable[..., list[tuple[object, object]]], runtime_directory: Path
) -> None:
    act = """
os.environ["SAMEMAP_DIR"] = f"{home}/directory-{n}"
Region.create(f"mine-{me}", 8).close()
results.append(0)
"""
    race(act, rounds=300, watch="do not look")
    for n in range(300):
        directory = runtime_directory / f"directory-{n}"
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {entry.name for entry in directory.iterdir()} == {"mine-0", "mine-1"}
