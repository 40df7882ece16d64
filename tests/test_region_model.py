"""A region against the simplest model there is: a bytearray, under any sequence of operations.

With two handles of one file the model is the same: what one of them does, the other sees.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from samemap import PAGE_SIZE, Region

LARGEST = 5 * PAGE_SIZE
ROOM = 3 * PAGE_SIZE

near_pages = st.builds(
    lambda page, off: max(1, min(LARGEST, page * PAGE_SIZE + off)), st.integers(0, 5), st.integers(-9, 9)
)
sizes = near_pages | st.integers(1, LARGEST)
offsets = st.integers(-20, 40) | near_pages
indices = st.integers(-LARGEST - 20, LARGEST + 20) | offsets | offsets.map(lambda n: -n)
keys = st.builds(slice, st.none() | indices, st.none() | indices, st.none() | st.integers(-7, 7).filter(bool))
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
which = st.integers(0, 3)


class RegionModel(RuleBasedStateMachine):
    """One handle, or several, of one region; `bytes` is what is in it."""

    handles: ClassVar[int] = 1
    anonymous: ClassVar[bool] = False

    @initialize(size=sizes.filter(lambda size: size <= ROOM))
    def make(self, size: int) -> None:
        self.all: list[Region] = []
        self.directory = tempfile.TemporaryDirectory(prefix="samemap-test-", dir="/dev/shm")
        self.path = None if self.anonymous else Path(self.directory.name) / "file"
        self.bytes = bytearray(size)
        self.all.append(Region(self.path, size, max_size=ROOM))
        while len(self.all) < self.handles:
            self.all.append(self.another())
        self.views: list[tuple[int, memoryview]] = []

    def another(self) -> Region:
        if self.path is None:
            return Region.from_fd(self.all[0].fileno(), max_size=ROOM)
        return Region.open(self.path, max_size=ROOM)

    def teardown(self) -> None:
        if hasattr(self, "all"):
            for _, view in self.views:
                view.release()
            for region in self.all:
                region.close()
            self.directory.cleanup()

    def pick(self, n: int) -> Region:
        return self.all[n % len(self.all)]

    @rule(n=which, index=indices)
    def get(self, n: int, index: int) -> None:
        if -len(self.bytes) <= index < len(self.bytes):
            assert self.pick(n)[index] == self.bytes[index]
        else:
            with pytest.raises(IndexError):
                self.pick(n)[index]

    @rule(n=which, index=indices, value=st.integers(0, 255))
    def set(self, n: int, index: int, value: int) -> None:
        if -len(self.bytes) <= index < len(self.bytes):
            self.pick(n)[index] = self.bytes[index] = value
        else:
            with pytest.raises(IndexError):
                self.pick(n)[index] = value

    @rule(n=which, key=keys)
    def get_slice(self, n: int, key: slice) -> None:
        assert self.pick(n)[key] == bytes(self.bytes[key])

    @rule(n=which, key=keys, seed=st.integers(0, 255), extra=st.sampled_from([0, 0, 0, 0, 1, -1]))
    def set_slice(self, n: int, key: slice, seed: int, extra: int) -> None:
        length = len(self.bytes[key])
        new = bytes((seed + 7 * i) % 256 for i in range(max(0, length + extra)))
        if len(new) == length:
            self.pick(n)[key] = new
            self.bytes[key] = new
        else:
            with pytest.raises(ValueError, match=r"\d"):
                self.pick(n)[key] = new

    @rule(
        n=which,
        offset=offsets,
        width=st.sampled_from([4, 8]),
        what=st.sampled_from(["load", "store", "fetch_add", "compare_exchange"]),
        value=st.integers(-(1 << 31), (1 << 32) - 1) | st.integers(-(1 << 63), (1 << 64) - 1),
        hit=st.booleans(),
    )
    def atomic(self, n: int, offset: int, width: int, what: str, value: int, hit: bool) -> None:
        call = getattr(self.pick(n), f"{what}_u{8 * width}")
        old = int.from_bytes(self.bytes[offset : offset + width], sys.byteorder) if offset >= 0 else 0
        fits = -(1 << (8 * width - 1)) <= value < 1 << (8 * width)
        arguments: tuple[int, ...] = {
            "load": (offset,),
            "store": (offset, value),
            "fetch_add": (offset, value),
            "compare_exchange": (offset, old if hit else old ^ 1, value),
        }[what]
        wrong: list[Any] = []
        if what != "load" and not fits:
            wrong.append(OverflowError)
        if offset % width:
            wrong.append(ValueError)
        if not 0 <= offset <= len(self.bytes) - width:
            wrong.append(IndexError)
        if wrong:
            with pytest.raises(tuple(wrong)):
                call(*arguments)
            return
        assert call(*arguments) == (None if what == "store" else old)
        new = {
            "load": old,
            "store": value,
            "fetch_add": old + value,
            "compare_exchange": value if hit else old,
        }[what] % (1 << 8 * width)
        self.bytes[offset : offset + width] = new.to_bytes(width, sys.byteorder)

    @rule(n=which, offset=st.integers(0, 40) | near_pages, text=texts, size=st.none() | st.integers(0, 60))
    def write_text(self, n: int, offset: int, text: str, size: int | None) -> None:
        room = len(self.bytes) - offset if size is None else size
        new = text.encode() + b"\0"
        if offset >= len(self.bytes) or room > len(self.bytes) - offset:
            with pytest.raises(IndexError):
                self.pick(n).write_text(text, offset, size)
        elif len(new) > room:
            with pytest.raises(ValueError, match=r"\d"):
                self.pick(n).write_text(text, offset, size)
        else:
            assert self.pick(n).write_text(text, offset, size) == len(new)
            self.bytes[offset : offset + len(new)] = new

    @rule(n=which, offset=st.integers(0, 40) | near_pages, size=st.none() | st.integers(0, 60))
    def read_text(self, n: int, offset: int, size: int | None) -> None:
        room = len(self.bytes) - offset if size is None else size
        if offset >= len(self.bytes) or room > len(self.bytes) - offset:
            with pytest.raises(IndexError):
                self.pick(n).read_text(offset, size, encoding="latin-1")
        else:
            expected = bytes(self.bytes[offset : offset + room]).partition(b"\0")[0]
            assert self.pick(n).read_text(offset, size, encoding="latin-1") == expected.decode("latin-1")

    @rule(n=which, size=sizes, sparse=st.booleans())
    def resize(self, n: int, size: int, sparse: bool) -> None:
        region = self.pick(n)
        viewed = any(owner == n % len(self.all) for owner, _ in self.views)
        if size < len(self.bytes):
            if self.views:
                # Other handles' views are theirs to lose; what becomes of those is test_truncation's.
                if viewed and not self.anonymous:
                    with pytest.raises(BufferError):
                        region.resize(size)
                return
            if self.anonymous:
                with pytest.raises(PermissionError):
                    region.resize(size)
                return
        elif size > region.max_size and viewed:
            with pytest.raises(BufferError):
                region.resize(size)
            return
        elif size > region.max_size and self.views:
            return
        region.resize(size, sparse=sparse)
        if size < len(self.bytes):
            # To the other handles it looks like an accident, until they take the length as it is.
            for other in self.all:
                other.resize(size)
        self.bytes[size:] = b""
        self.bytes += bytes(size - len(self.bytes))

    @rule(n=which)
    def view(self, n: int) -> None:
        if len(self.bytes) <= min(region.max_size for region in self.all):
            self.views.append((n % len(self.all), memoryview(self.pick(n))))

    @precondition(lambda self: self.views)
    @rule(data=st.data(), value=st.integers(0, 255))
    def write_by_a_view(self, data: st.DataObject, value: int) -> None:
        _, view = self.views[data.draw(st.integers(0, len(self.views) - 1))]
        index = data.draw(st.integers(0, len(view) - 1))
        view[index] = self.bytes[index] = value

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def release_a_view(self, data: st.DataObject) -> None:
        self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))[1].release()

    @rule(n=which)
    def close_and_open_again(self, n: int) -> None:
        if self.anonymous and len(self.all) == 1:
            return
        at = n % len(self.all)
        other = self.all[at - 1]
        old = self.all[at]
        old.close()
        self.all[at] = (
            Region.from_fd(other.fileno(), max_size=ROOM)
            if self.path is None
            else Region.open(self.path, max_size=ROOM)
        )
        # Its views are the closed handle's: they stay good, but no longer pin the new one.
        self.views = [(-1 if owner == at else owner, view) for owner, view in self.views]

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "all"):
            return
        for n, region in enumerate(self.all):
            assert len(region) == region.size == len(self.bytes)
            assert region.stats().views == sum(owner == n for owner, _ in self.views)
            assert not region.stats().truncated
        for _, view in self.views:
            assert view == self.bytes[: len(view)]
        if self.path is not None:
            assert self.path.read_bytes() == self.bytes


class TwoHandlesModel(RegionModel):
    handles = 2


class AnonymousModel(RegionModel):
    handles = 2
    anonymous = True


# The same sequences on every run: what a new one finds belongs into a test of its own.
DETERMINISTIC = settings(deadline=None, derandomize=True, max_examples=150, stateful_step_count=30, database=None)

TestRegion = RegionModel.TestCase
TestTwoHandles = TwoHandlesModel.TestCase
TestAnonymous = AnonymousModel.TestCase
for case in (TestRegion, TestTwoHandles, TestAnonymous):
    case.settings = DETERMINISTIC
del case
