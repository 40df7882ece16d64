"""Limits of the machine and of the process: an error that names them, and nothing left behind."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from isolated import NOBODY, succeed

from samemap import PAGE_SIZE, Region

MIB = 1 << 20


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount small tmpfs file systems, and unmount them whatever happens."""
    mounted: list[Path] = []

    def mount_one(size: str) -> Path:
        if os.geteuid() != 0:
            pytest.skip("mounting a small tmpfs needs root")
        path = tmp_path / f"tmpfs-{len(mounted)}"
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            path.rmdir()
            pytest.skip(f"this machine permits no mount: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount_one
    for path in mounted:
        # Lazily, so that a descriptor that a failed test left open cannot keep it mounted.
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def full(mount: Callable[[str], Path]) -> Path:
    return mount("1m")


def free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


class TestNotEnoughMemory:
    """The kernel would grant what is there, and then kill somebody for the rest."""

    @pytest.mark.parametrize("how", [lambda size: Region(None, size), lambda size: Region("more", size)])
    def test_more_than_the_machine_has_is_refused_at_once(
        self, how: Callable[[int], Region], runtime_directory: Path
    ) -> None:
        with Path("/proc/meminfo").open() as lines:
            memory = sum(int(line.split()[1]) for line in lines if line.startswith(("MemTotal", "SwapTotal"))) * 1024
        with pytest.raises(OSError, match=str(2 * memory)) as caught:
            how(2 * memory)
        assert caught.value.errno in (errno.ENOMEM, errno.ENOSPC)
        assert list(runtime_directory.iterdir()) == []

    def test_growth_keeps_what_is_there(self) -> None:
        with Region(None, PAGE_SIZE, max_size=1 << 46) as region:
            region[:] = b"x" * PAGE_SIZE
            with pytest.raises(OSError, match="memory left") as caught:
                region.resize(1 << 45)
            assert caught.value.errno == errno.ENOMEM
            assert region[:] == b"x" * PAGE_SIZE

    def test_sparse_takes_none_of_it(self) -> None:
        with Region(None, 1 << 38, sparse=True) as region:
            region[-1] = 1
            assert region.stats().allocated <= 2 * PAGE_SIZE


class TestFullFileSystem:
    @pytest.mark.parametrize("how", [Region.create, Region])
    @pytest.mark.parametrize("populate", [False, True])
    def test_creation_is_refused_and_leaves_nothing(
        self, full: Path, how: Callable[..., Region], populate: bool
    ) -> None:
        room = free(full)
        with pytest.raises(OSError, match=str(2 * MIB)) as caught:
            how(full / "big", 2 * MIB, populate=populate)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(full / "big"))
        assert list(full.iterdir()) == []
        assert free(full) == room

    def test_open_or_create_leaves_an_existing_file_as_it_was(self, full: Path) -> None:
        (full / "file").write_bytes(b"x" * 5000)
        room = free(full)
        with pytest.raises(OSError, match=str(2 * MIB)) as caught:
            Region(full / "file", 2 * MIB)
        assert caught.value.errno == errno.ENOSPC
        assert (full / "file").read_bytes() == b"x" * 5000
        assert free(full) == room

    def test_open_or_create_leaves_an_empty_file_empty(self, full: Path) -> None:
        (full / "file").touch()
        with pytest.raises(OSError, match=r".") as caught:
            Region(full / "file", 2 * MIB)
        assert caught.value.errno == errno.ENOSPC
        assert (full / "file").stat().st_size == 0

    @pytest.mark.parametrize("size", [MIB + 1, 3 * MIB, 600 * MIB])
    def test_growth_is_refused_and_everything_stays(self, full: Path, size: int) -> None:
        with Region.create(full / "file", 5000, max_size=1 << 30) as region:
            region[:] = b"x" * 5000
            view = region.array()
            room = free(full)
            for _ in range(3):
                with pytest.raises(OSError, match=str(size)) as caught:
                    region.resize(size)
                assert caught.value.errno == errno.ENOSPC
                assert len(region) == (full / "file").stat().st_size == 5000
                assert free(full) == room
            assert region[:] == view.tobytes() == b"x" * 5000
            region.resize(100_000)
            region[-1] = view[0] = 1

    def test_growth_beyond_max_size_is_refused_and_everything_stays(self, full: Path) -> None:
        with Region.create(full / "file", PAGE_SIZE, max_size=PAGE_SIZE) as region:
            region[:] = b"x" * PAGE_SIZE
            with pytest.raises(OSError, match=r".") as caught:
                region.resize(2 * MIB)
            assert caught.value.errno == errno.ENOSPC
            assert region[:] == b"x" * PAGE_SIZE
            region.resize(2 * PAGE_SIZE)
            assert region[:] == b"x" * PAGE_SIZE + bytes(PAGE_SIZE)

    def test_growth_in_many_steps_gives_all_of_them_back(self, mount: Callable[[str], Path]) -> None:
        # Large growth is reserved piece by piece: the first pieces must come back when a later one fails.
        directory = mount("300m")
        with Region.create(directory / "file", PAGE_SIZE) as region:
            room = free(directory)
            with pytest.raises(OSError, match=r".") as caught:
                region.resize(400 * MIB)
            assert caught.value.errno == errno.ENOSPC
            assert len(region) == PAGE_SIZE
            assert free(directory) == room

    def test_what_fits_exactly_fits(self, full: Path) -> None:
        room = free(full)
        with Region.create(full / "file", room) as region:
            assert free(full) == 0
            region[:] = b"x" * room
            with pytest.raises(OSError, match=r".") as caught:
                Region.create(full / "one more", 1)
            assert caught.value.errno == errno.ENOSPC
            assert [entry.name for entry in full.iterdir()] == ["file"]
            region.unlink()
        assert free(full) == room

    @pytest.mark.parametrize(
        "write",
        [
            "region[at] = 1",
            "region[at : at + 3] = b'abc'",
            "region.write_text('x', at)",
            "region.store_u32(at, 1)",
            "region.fetch_add_u64(at, 1)",
            "region.compare_exchange_u32(at, 0, 1)",
        ],
    )
    def test_sparse_region_without_room_raises(self, full: Path, write: str) -> None:
        succeed(
            f"""
            import errno, sys
            from samemap import PAGE_SIZE, Region
            with Region.create(sys.argv[1], 2 << 20, sparse=True) as region:
                written = 0
                try:
                    for at in range(0, 2 << 20, PAGE_SIZE):
                        {write}
                        written += 1
                except OSError as error:
                    assert error.errno == errno.ENOSPC, repr(error)
                    assert error.filename == sys.argv[1]
                else:
                    raise AssertionError("2 MiB written to 1 MiB")
                assert 200 <= written <= 256, written
                assert len(region) == 2 << 20
            """,
            full / "sparse",
        )

    def test_sparse_region_without_room_says_so_after_a_view_wrote(self, full: Path) -> None:
        succeed(
            """
            import errno, sys
            import numpy as np
            from samemap import PAGE_SIZE, Region
            region = Region.create(sys.argv[1], 2 << 20, sparse=True)
            array = region.array()
            array[:] = 1
            try:
                region[0]
                region[-1]
            except OSError as error:
                assert error.errno == errno.ENOSPC, repr(error)
            else:
                raise AssertionError("not told")
            """,
            full / "sparse",
        )


class TestFileSizeLimit:
    def test_creation_and_growth_are_refused_and_leave_nothing(self, tmp_path: Path) -> None:
        succeed(
            """
            import errno, os, resource, sys
            from samemap import Region
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            os.chdir(sys.argv[1])

            def refused(how, *arguments):
                try:
                    how(*arguments)
                except OSError as error:
                    assert error.errno == errno.EFBIG, repr(error)
                    assert "ulimit -f" in str(error), error
                else:
                    raise AssertionError(how)

            for how in (Region.create, Region):
                refused(how, "./big", 2 << 20)
                refused(how, None, 2 << 20)
            assert os.listdir() == []
            for name in ("./file", None):
                with Region(name, 5000) as region:
                    region[:] = b"x" * 5000
                    refused(region.resize, 2 << 20)
                    assert region[:] == b"x" * 5000
                    region.resize(1 << 20)
            refused(Region, "./file", 2 << 20)
            assert os.stat("file").st_size == 1 << 20
            """,
            tmp_path,
        )


class TestDescriptorLimit:
    def test_is_a_clear_error_and_nothing_leaks(self, tmp_path: Path) -> None:
        succeed(
            """
            import errno, os, resource, socket, sys
            from samemap import Region

            os.chdir(sys.argv[1])
            there = Region.create("./there", 64)
            ours, theirs = socket.socketpair()
            LIMIT = 64
            resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
            names = set(os.listdir())

            def is_open(fd):
                try:
                    os.fstat(fd)
                except OSError:
                    return False
                return True

            def descriptors():
                return [fd for fd in range(LIMIT) if is_open(fd)]

            def mappings():
                with open("/proc/self/maps") as maps:
                    return sum("samemap" in line or "there" in line or "made" in line for line in maps)

            before, mapped, held = descriptors(), mappings(), []

            def fill():
                while True:
                    try:
                        held.append(os.dup(0))
                    except OSError as error:
                        assert error.errno == errno.EMFILE
                        return

            def drop(count):
                for _ in range(count):
                    os.close(held.pop())

            fill()
            attempts = {
                "create": lambda: Region.create("./made", 64),
                "open or create": lambda: Region("./made", 64),
                "anonymous": lambda: Region(None, 64),
                "open": lambda: Region.open("./there"),
                "open and grow": lambda: Region("./there", 128),
                "from_fd": lambda: Region.from_fd(there.fileno()),
                "wait": lambda: Region.open("./there", wait=1),
            }
            for what, attempt in attempts.items():
                # None left, then just a few: each step of the way has to clean up after the ones before it.
                for left in (0, 1, 2):
                    drop(left)
                    full = descriptors()
                    try:
                        made = attempt()
                    except OSError as error:
                        assert error.errno == errno.EMFILE, (what, left, repr(error))
                        assert "ulimit -n" in str(error), (what, error)
                        assert descriptors() == full, (what, left)
                        assert set(os.listdir("/proc/self/cwd") if left else names) == names, (what, left)
                    else:
                        assert left > 0, what
                        made.close()
                        if os.path.exists("./made"):
                            os.unlink("./made")
                        assert descriptors() == full, (what, left)
                    fill()
            # Use of what is open needs no more descriptors.
            there[0] = 1
            there.resize(8192)
            there.wait(0, 0, 0), there.ring(0), there.flush(), there.stats()
            there.send_handle(ours)
            try:
                Region.recv_handle(theirs)
            except (OSError, ValueError) as error:
                assert isinstance(error, ValueError) or error.errno == errno.EMFILE
            else:
                raise AssertionError("received without a descriptor left")
            drop(len(held))
            assert descriptors() == before
            assert mappings() == mapped
            assert set(os.listdir()) == names
            """,
            tmp_path,
        )


class TestLockedMemoryLimit:
    def test_is_named_in_the_error(self) -> None:
        succeed(
            f"""
            import errno, os, resource
            from samemap import PAGE_SIZE, Region
            region = Region(None, 64 * PAGE_SIZE)
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (2 * PAGE_SIZE, 2 * PAGE_SIZE))
            if os.geteuid() == 0:
                # Root may lock without limit.
                os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
            try:
                region.lock()
            except OSError as error:
                assert error.errno in (errno.ENOMEM, errno.EPERM, errno.EAGAIN), repr(error)
                assert "ulimit -l" in str(error) and str(2 * PAGE_SIZE) in str(error), error
            else:
                raise AssertionError("locked beyond the limit")
            region.lock(0, PAGE_SIZE)
            region.unlock()
            region[0] = 1
            """
        )


class TestAddressSpaceLimit:
    def test_is_a_clear_error_and_nothing_leaks(self, tmp_path: Path) -> None:
        succeed(
            """
            import errno, os, resource, sys
            from samemap import Region
            os.chdir(sys.argv[1])
            fds = len(os.listdir("/proc/self/fd"))
            small = Region(None, 4096, max_size=4096)
            limit = 1 << 30
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            for name in (None, "./made"):
                try:
                    Region(name, 64, max_size=4 << 30)
                except OSError as error:
                    assert error.errno == errno.ENOMEM, repr(error)
                    assert "max_size" in str(error), error
                else:
                    raise AssertionError("mapped beyond the limit")
            small[:] = b"x" * 4096
            try:
                small.resize(4 << 30, sparse=True)
            except OSError as error:
                assert error.errno == errno.ENOMEM, repr(error)
            else:
                raise AssertionError("moved beyond the limit")
            assert small[:4096] == b"x" * 4096
            small.close()
            assert len(os.listdir("/proc/self/fd")) == fds
            """,
            tmp_path,
        )
