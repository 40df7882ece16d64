"""Atomic words: exact between processes, wrapping, and strict about what they are given."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator

import pytest

from samemap import Region

Start = Callable[..., subprocess.Popen[str]]

BITS = [32, 64]

# Both processes begin when both are there.
TOGETHER = """
import sys
from samemap import Region
region = Region.open("words")
ready = region.fetch_add_u32(120, 1) + 1
region.ring(120)
while ready < 2:
    region.wait(120, ready, 60)
    ready = region.load_u32(120)
"""

ADD = (
    TOGETHER
    + """
add = getattr(region, f"fetch_add_u{sys.argv[1]}")
for _ in range(100_000):
    add(0, int(sys.argv[2]))
"""
)

# A lock in one word: 0 is free, 1 is taken. Whoever finds it taken sleeps for a moment, then tries again.
LOCK = (
    TOGETHER
    + """
exchange, value = getattr(region, f"compare_exchange_u{sys.argv[1]}"), memoryview(region).cast("Q")
for _ in range(20_000):
    while exchange(0, 0, 1) != 0:
        region.wait(0, 1, 0.001)
    value[1] += 1
    assert exchange(0, 1, 0) == 1
    region.ring(0, 1)
"""
)


@pytest.fixture
def region() -> Iterator[Region]:
    """Give the region "words", which strangers can open."""
    with Region.create("words", 128) as region:
        yield region


def run_both(start: Start, source: str, *arguments: tuple[str, ...]) -> None:
    processes = [start(*line, source=source) for line in arguments]
    for process in processes:
        assert process.communicate(timeout=100) == ("", "")
        assert process.returncode == 0


class TestBetweenProcesses:
    @pytest.mark.parametrize("bits", BITS)
    def test_sum_is_exact(self, region: Region, start: Start, bits: int) -> None:
        run_both(start, ADD, (str(bits), "1"), (str(bits), "3"))
        assert region.load_u64(0) == 400_000

    @pytest.mark.parametrize("bits", BITS)
    def test_sum_of_opposites_is_zero(self, region: Region, start: Start, bits: int) -> None:
        run_both(start, ADD, (str(bits), "-7"), (str(bits), "7"))
        assert region.load_u64(0) == 0

    def test_carry_reaches_the_upper_half(self, region: Region, start: Start) -> None:
        run_both(start, ADD, ("64", str(2**31)), ("64", str(2**32)))
        assert region.load_u64(0) == 100_000 * (2**31 + 2**32)

    @pytest.mark.parametrize("bits", BITS)
    def test_lock_of_compare_exchange_protects_a_plain_counter(self, region: Region, start: Start, bits: int) -> None:
        run_both(start, LOCK, (str(bits),), (str(bits),))
        assert memoryview(region).cast("Q")[1] == 40_000


@pytest.mark.parametrize("bits", BITS)
class TestValues:
    """One process is enough to see what a word holds."""

    @pytest.fixture(autouse=True)
    def _calls(self, region: Region, bits: int) -> None:
        self.load: Callable[[int], int] = getattr(region, f"load_u{bits}")
        self.store: Callable[[int, int], None] = getattr(region, f"store_u{bits}")
        self.add: Callable[[int, int], int] = getattr(region, f"fetch_add_u{bits}")
        self.exchange: Callable[[int, int, int], int] = getattr(region, f"compare_exchange_u{bits}")

    def test_bytes_are_those_of_c(self, region: Region, bits: int) -> None:
        self.store(8, 2**bits - 2)
        assert region[8 : 8 + bits // 8] == struct.pack("=I" if bits == 32 else "=Q", 2**bits - 2)
        assert region[:8] + region[8 + bits // 8 :] == bytes(128 - bits // 8)

    def test_add_wraps_both_ways(self, bits: int) -> None:
        self.store(0, 2**bits - 1)
        assert self.add(0, 1) == 2**bits - 1
        assert self.load(0) == 0
        assert self.add(0, -1) == 0
        assert self.load(0) == 2**bits - 1
        assert self.add(0, 2**bits - 1) == 2**bits - 1
        assert self.load(0) == 2**bits - 2

    def test_neighbours_are_left_alone_when_it_wraps(self, region: Region, bits: int) -> None:
        width = bits // 8
        self.store(width, 2**bits - 1)
        self.add(width, 1)
        assert region[:] == bytes(128)

    @pytest.mark.parametrize("value", ["0", "1", "2**(bits-1) - 1", "2**(bits-1)", "2**bits - 1"])
    def test_same_word_signed_and_unsigned(self, bits: int, value: str) -> None:
        unsigned = eval(value, {"bits": bits})
        signed = unsigned - 2**bits if unsigned >= 2 ** (bits - 1) else unsigned
        self.store(0, signed)
        assert self.load(0) == unsigned
        assert self.exchange(0, signed, 5) == unsigned
        assert self.load(0) == 5
        assert self.exchange(0, 5, signed) == 5
        assert self.load(0) == unsigned

    def test_exchange_changes_nothing_unless_it_is_as_expected(self, bits: int) -> None:
        self.store(0, 7)
        assert self.exchange(0, 6, 9) == 7
        assert self.load(0) == 7
        assert self.exchange(0, 7, 9) == 7
        assert self.load(0) == 9

    def test_too_large(self, bits: int) -> None:
        for value in (2**bits, -(2 ** (bits - 1)) - 1, 2**100):
            for call in (
                lambda value=value: self.store(0, value),
                lambda value=value: self.add(0, value),
                lambda value=value: self.exchange(0, value, 0),
                lambda value=value: self.exchange(0, 0, value),
            ):
                with pytest.raises(OverflowError, match=f"{bits} bits"):
                    call()
        assert self.load(0) == 0

    @pytest.mark.parametrize("value", [1.0, "1", None, b"1"])
    def test_not_an_integer(self, bits: int, value: object) -> None:
        with pytest.raises(TypeError):
            self.store(0, value)  # type: ignore[arg-type]

    def test_misaligned(self, bits: int) -> None:
        for offset in (1, 2, bits // 8 + 1, bits // 8 + 2):
            for call in self.everything(offset):
                with pytest.raises(ValueError, match="multiple"):
                    call()

    def test_out_of_range(self, bits: int) -> None:
        for offset in (128, -8, 2**40, 2**62):
            for call in self.everything(offset):
                with pytest.raises(IndexError):
                    call()

    def test_last_word(self, bits: int) -> None:
        last = 128 - bits // 8
        self.store(last, 1)
        assert self.add(last, 1) == 1
        assert self.exchange(last, 2, 3) == 2
        assert self.load(last) == 3

    def test_read_only(self, bits: int) -> None:
        with Region.open("words", mode="r") as reader:
            self.store(0, 5)
            assert getattr(reader, f"load_u{bits}")(0) == 5
            for name, arguments in (
                ("store", (0, 1)),
                ("fetch_add", (0, 1)),
                ("compare_exchange", (0, 5, 1)),
            ):
                with pytest.raises(TypeError, match="read-only"):
                    getattr(reader, f"{name}_u{bits}")(*arguments)
        assert self.load(0) == 5

    def everything(self, offset: int) -> list[Callable[[], object]]:
        return [
            lambda: self.load(offset),
            lambda: self.store(offset, 0),
            lambda: self.add(offset, 0),
            lambda: self.exchange(offset, 0, 0),
        ]
