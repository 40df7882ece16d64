"""Bytes and text of a region: indexing, slicing, NUL-ended text, and what read-only forbids."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from samemap import Region


class TestIndexing:
    SLICES: ClassVar[list[slice]] = [
        slice(a, b, c) for a in (None, 0, 3, -3, 99, -99) for b in (None, 0, 7, -1, 99) for c in (None, 1, 2, -1, -3)
    ]

    @pytest.mark.parametrize("key", SLICES, ids=str)
    def test_slices_are_those_of_bytes(self, region: Region, key: slice) -> None:
        content = bytes(range(64))
        region[:] = content
        assert region[key] == content[key]
        assert type(region[key]) is bytes

    @pytest.mark.parametrize("key", [slice(None), slice(5, 9), slice(None, None, 2), slice(None, None, -3)], ids=str)
    def test_slice_assignment_is_that_of_bytearray(self, region: Region, key: slice) -> None:
        model = bytearray(64)
        new = bytes(range(1, len(model[key]) + 1))
        model[key] = new
        region[key] = new
        assert region[:] == model

    @pytest.mark.parametrize("key", [slice(0, 4), slice(0, 8, 2), slice(8, 0, -2)], ids=str)
    @pytest.mark.parametrize("new", [b"", b"123", b"12345"])
    def test_slice_assignment_of_another_length_is_refused(self, region: Region, key: slice, new: bytes) -> None:
        region[:] = before = bytes(range(64))
        with pytest.raises(ValueError, match=rf"{len(new)}.*4|4.*{len(new)}"):
            region[key] = new
        assert region[:] == before

    def test_slice_assignment_from_itself_overlapping(self, region: Region) -> None:
        model = bytearray(range(64))
        region[:] = model
        region[4:36] = memoryview(region)[:32]
        model[4:36] = model[:32]
        assert region[:] == model

    @pytest.mark.parametrize("value", [-1, 256, 1 << 70])
    def test_value_that_is_no_byte_is_refused(self, region: Region, value: int) -> None:
        with pytest.raises((ValueError, OverflowError)):
            region[0] = value
        assert region[0] == 0

    @pytest.mark.parametrize("key", ["0", 1.0, None, b"\0", (0, 1)])
    def test_key_that_is_no_index_is_refused(self, region: Region, key: Any) -> None:
        with pytest.raises(TypeError):
            region[key]
        with pytest.raises(TypeError):
            region[key] = 1

    @pytest.mark.parametrize("value", ["a", 1.0, None])
    def test_value_of_another_type_is_refused(self, region: Region, value: Any) -> None:
        with pytest.raises(TypeError):
            region[0] = value
        with pytest.raises(TypeError):
            region[0:1] = value

    def test_a_slice_takes_bytes_that_are_not_in_one_piece(self, region: Region) -> None:
        region[0:4] = memoryview(b"a-b-c-d-")[::2]
        assert region[0:4] == b"abcd"
        region[0:4] = memoryview(region)[3::-1]
        assert region[0:4] == b"dcba"

    def test_deletion_is_refused(self, region: Region) -> None:
        with pytest.raises(TypeError, match="resize"):
            del region[0]  # type: ignore[attr-defined]

    def test_index_by_dunder_index(self, region: Region) -> None:
        class Three:
            def __index__(self) -> int:
                return 3

        region[Three()] = Three()
        assert region[Three()] == region[3] == 3

    def test_index_that_closes_the_region_is_caught(self) -> None:
        region = Region(None, 64)

        class Closer:
            def __index__(self) -> int:
                region.close()
                return 3

        with pytest.raises(ValueError, match="closed"):
            region[Closer()]
        with pytest.raises(ValueError, match="closed"):
            region[Closer() : 10]

    def test_step_of_zero_is_refused(self, region: Region) -> None:
        with pytest.raises(ValueError, match="zero"):
            region[::0]

    def test_iteration_ends(self, region: Region) -> None:
        region[:3] = b"abc"
        assert list(region) == [97, 98, 99, *[0] * 61]


class TestText:
    def test_round_trip_leaves_a_nul_and_the_old_bytes_after_it(self, region: Region) -> None:
        region[:] = b"x" * 64
        assert region.write_text("grüß", 3) == 7
        assert region[:11] == b"xxx" + "grüß".encode() + b"\0x"
        assert region.read_text(3) == "grüß"

    def test_text_without_a_nul_ends_with_the_region(self, region: Region) -> None:
        region[:] = b"y" * 64
        assert region.read_text() == "y" * 64
        assert region.read_text(60) == "yyyy"
        assert region.read_text(0, 3) == "yyy"

    def test_text_that_just_fits(self, region: Region) -> None:
        assert region.write_text("z" * 63) == 64
        assert region.read_text() == "z" * 63
        assert region.write_text("abc", 60) == 4
        assert region.write_text("abc", 8, 4) == 4

    @pytest.mark.parametrize(
        ("text", "offset", "size"), [("z" * 64, 0, None), ("abcd", 60, None), ("abcd", 8, 4), ("", 8, 0)]
    )
    def test_text_that_does_not_fit_writes_nothing(
        self, region: Region, text: str, offset: int, size: int | None
    ) -> None:
        region[:] = b"y" * 64
        with pytest.raises(ValueError, match=r"\d"):
            region.write_text(text, offset, size)
        assert region[:] == b"y" * 64

    def test_text_with_a_nul_is_refused(self, region: Region) -> None:
        with pytest.raises(ValueError, match="NUL"):
            region.write_text("a\0b")
        assert region[:] == bytes(64)

    @pytest.mark.parametrize(("offset", "size"), [(65, None), (0, 65), (60, 5), (1 << 63, None), (0, 1 << 63)])
    def test_range_outside_the_region_is_refused(self, region: Region, offset: int, size: int | None) -> None:
        with pytest.raises((IndexError, OverflowError)):
            region.read_text(offset, size)
        with pytest.raises((IndexError, OverflowError)):
            region.write_text("", offset, size)

    def test_empty_text_at_the_very_end(self, region: Region) -> None:
        region[63] = 1
        assert region.write_text("", 63) == 1
        assert region[63] == 0
        assert region.read_text(63) == ""
        with pytest.raises(IndexError):
            region.read_text(64)

    def test_encodings(self, region: Region) -> None:
        region.write_text("grün", encoding="latin-1")
        assert region.read_text(encoding="latin-1") == "grün"
        with pytest.raises(UnicodeDecodeError):
            region.read_text()
        assert region.read_text(errors="replace") == "gr\ufffdn"


class TestReadOnly:
    def test_reads(self, readonly: Region) -> None:
        assert readonly.mode == "r"
        assert readonly.read_text() == "Hello"
        assert readonly[0] == ord("H")
        assert readonly.load_u32(0) == int.from_bytes(b"Hell", sys.byteorder)
        assert not readonly.wait(0, readonly.load_u32(0), 0)
        assert readonly.ring(0) == 0
        assert bytes(readonly)[:5] == b"Hello"

    @pytest.mark.parametrize(
        "write",
        [
            lambda r: r.__setitem__(0, 1),
            lambda r: r.__setitem__(slice(0, 2), b"ab"),
            lambda r: r.write_text("x"),
            lambda r: r.write_cstring(b"x"),
            lambda r: r.store_u32(0, 1),
            lambda r: r.store_u64(0, 1),
            lambda r: r.fetch_add_u32(0, 1),
            lambda r: r.fetch_add_u64(0, 1),
            lambda r: r.compare_exchange_u32(0, 0, 1),
            lambda r: r.compare_exchange_u64(0, 0, 1),
            lambda r: r.resize(128),
        ],
    )
    def test_writing_is_a_type_error_and_changes_nothing(
        self, readonly: Region, write: Callable[[Region], Any]
    ) -> None:
        with pytest.raises(TypeError, match=r"read-only|mode"):
            write(readonly)
        assert readonly[:] == b"Hello" + bytes(59)

    def test_unknown_mode_is_refused(self) -> None:
        with pytest.raises(ValueError, match="mode"):
            Region.open("readonly", mode="w")  # type: ignore[arg-type]

    def test_anonymous_memory_cannot_be_read_only(self) -> None:
        with pytest.raises(ValueError, match="writable"):
            Region(None, 64, mode="r")

    def test_a_size_is_to_make_or_grow_which_reading_cannot(self, runtime_directory: Path) -> None:
        with pytest.raises(ValueError, match="size="):
            Region("missing", 64, mode="r")
        assert not (runtime_directory / "missing").exists()
