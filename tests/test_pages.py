"""Pages: what the kernel is told about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from samemap import PAGE_SIZE, Region


class TestKernelAdvice:
    @pytest.mark.parametrize(
        "advice",
        [
            "normal",
            "random",
            "sequential",
            "willneed",
            "cold",
            "pageout",
            "dontdump",
            "dodump",
        ],
    )
    def test_harmless_advice_keeps_the_bytes(self, advice: str) -> None:
        with Region(None, 4 * PAGE_SIZE) as region:
            region[:] = content = bytes(range(256)) * (len(region) // 256)
            region.advise(advice)
            region.advise(advice, PAGE_SIZE, PAGE_SIZE)
            assert region[:] == content

    def test_remove_gives_the_pages_back(self) -> None:
        with Region(None, 4 * PAGE_SIZE) as region:
            region[:] = b"x" * len(region)
            region.advise("remove", PAGE_SIZE, 2 * PAGE_SIZE)
            # Asked first: to look at the hole is to take pages for it again.
            assert region.stats().allocated <= 2 * PAGE_SIZE
            assert region[:] == b"x" * PAGE_SIZE + bytes(2 * PAGE_SIZE) + b"x" * PAGE_SIZE

    def test_dontneed_keeps_what_is_shared(self) -> None:
        with Region(None, PAGE_SIZE) as region:
            region[0] = 7
            region.advise("dontneed")
            assert region[0] == 7

    def test_unknown_advice_is_named(self, region: Region) -> None:
        with pytest.raises(ValueError, match=r"fast.*advise"):
            region.advise("fast")

    @pytest.mark.parametrize("method", ["flush", "advise", "lock", "unlock"])
    @pytest.mark.parametrize(("offset", "length"), [(65, None), (0, 65), (60, 5), (1 << 40, 1)])
    def test_range_outside_the_region_is_refused(
        self, region: Region, method: str, offset: int, length: int | None
    ) -> None:
        arguments = ("normal",) if method == "advise" else ()
        with pytest.raises(IndexError):
            getattr(region, method)(*arguments, offset, length)

    def test_flush_reaches_the_file(self, tmp_path: Path) -> None:
        with Region.create(tmp_path / "file", 3 * PAGE_SIZE) as region:
            region[-5:] = b"Hello"
            region.flush()
            region.flush(PAGE_SIZE + 7, 10)
            assert (tmp_path / "file").read_bytes()[-5:] == b"Hello"

    def test_lock_keeps_pages_in_memory(self) -> None:
        with Region(None, 4 * PAGE_SIZE, sparse=True) as region:
            region.lock(PAGE_SIZE, PAGE_SIZE)
            assert region.stats().resident == PAGE_SIZE
            assert locked() >= PAGE_SIZE
            region.unlock(PAGE_SIZE, PAGE_SIZE)
            assert locked() == 0


def locked() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmLck:")[2].split()[0]) * 1024
