"""Which files a region accepts, and with which permissions it makes them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from isolated import NOBODY, descriptors, succeed

from samemap import Region

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

OPENERS = pytest.mark.parametrize(
    "how",
    [Region.open, lambda p: Region.open(p, mode="r"), lambda p: Region(p, 64)],
    ids=["open", "open read-only", "open or create"],
)


@pytest.fixture
def common() -> Iterator[Path]:
    """Return a directory that every user may search, as tmp_path and root's home are not."""
    with tempfile.TemporaryDirectory(prefix="samemap-test-", dir="/dev/shm") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


class TestSymbolicLinks:
    @pytest.fixture
    def link(self, tmp_path: Path) -> Path:
        (tmp_path / "target").write_bytes(b"Hello" + bytes(59))
        link = tmp_path / "link"
        link.symlink_to("target")
        return link

    @OPENERS
    def test_is_refused(self, link: Path, how: Callable[[Path], Region]) -> None:
        before = descriptors()
        with pytest.raises(OSError, match="follow_symlinks") as caught:
            how(link)
        assert caught.value.errno == errno.ELOOP
        assert caught.value.filename == str(link)
        assert descriptors() == before

    @pytest.mark.parametrize(
        "how",
        [
            lambda p: Region.open(p, follow_symlinks=True),
            lambda p: Region.open(p, mode="r", follow_symlinks=True),
            lambda p: Region(p, 64, follow_symlinks=True),
        ],
    )
    def test_is_followed_when_asked_to(self, link: Path, how: Callable[[Path], Region]) -> None:
        with how(link) as region:
            assert region.read_text() == "Hello"
            assert os.path.samestat(os.fstat(region.fileno()), link.stat())

    def test_cannot_be_created_over(self, link: Path) -> None:
        with pytest.raises(FileExistsError):
            Region.create(link, 64)
        assert link.is_symlink()
        assert link.read_bytes()[:5] == b"Hello"

    @pytest.mark.parametrize("how", [lambda p: Region.create(p, 64), lambda p: Region(p, 64)])
    def test_that_dangles_makes_nothing_at_its_other_end(self, tmp_path: Path, how: Callable[[Path], Region]) -> None:
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "nothing")
        with pytest.raises(OSError, match=r".") as caught:
            how(link)
        assert caught.value.errno in (errno.ELOOP, errno.EEXIST)
        assert [entry.name for entry in tmp_path.iterdir()] == ["link"]

    def test_loop_is_refused_even_when_following(self, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to("link")
        with pytest.raises(OSError, match=r".") as caught:
            Region.open(link, follow_symlinks=True)
        assert caught.value.errno == errno.ELOOP

    def test_among_the_directories_is_fine(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "alias").symlink_to("real")
        with Region.create(tmp_path / "alias" / "file", 64):
            assert (tmp_path / "real" / "file").stat().st_size == 64

    def test_unlink_removes_the_link_that_was_followed(self, link: Path) -> None:
        with Region.open(link, follow_symlinks=True) as region:
            region.unlink()
        assert not link.is_symlink()


class TestOtherKinds:
    @OPENERS
    def test_fifo_is_refused_without_blocking(self, tmp_path: Path, how: Callable[[Path], Region]) -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        self.refused(path, how)

    @OPENERS
    def test_fifo_with_a_reader_is_refused(self, tmp_path: Path, how: Callable[[Path], Region]) -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self.refused(path, how)
        finally:
            os.close(reader)

    @OPENERS
    def test_directory_is_refused(self, tmp_path: Path, how: Callable[[Path], Region]) -> None:
        self.refused(tmp_path, how)

    @OPENERS
    def test_socket_is_refused(self, tmp_path: Path, how: Callable[[Path], Region]) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "socket"))
            self.refused(tmp_path / "socket", how)

    @OPENERS
    @pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/tty"])
    def test_device_is_refused(self, device: str, how: Callable[[Path], Region]) -> None:
        self.refused(Path(device), how)

    @pytest.mark.parametrize("what", ["pipe", "socket", "directory", "device"])
    def test_descriptor_of_another_kind_is_refused(self, what: str, tmp_path: Path) -> None:
        with contextlib.ExitStack() as stack:
            if what == "pipe":
                fd, other = os.pipe()
                stack.callback(os.close, other)
            elif what == "socket":
                fd = socket.socket(socket.AF_UNIX).detach()
            else:
                fd = os.open(tmp_path if what == "directory" else "/dev/zero", os.O_RDONLY)
            stack.callback(os.close, fd)
            before = descriptors()
            with pytest.raises(OSError, match=r".") as caught:
                Region.from_fd(fd, mode="r")
            assert caught.value.errno == (errno.EISDIR if what == "directory" else errno.ENODEV)
            assert descriptors() == before

    @staticmethod
    def refused(path: Path, how: Callable[[Path], Region]) -> None:
        before = descriptors()
        with pytest.raises(OSError, match=r".") as caught:
            how(path)
        assert caught.value.errno in (errno.ENODEV, errno.EISDIR, errno.ENXIO), caught.value
        assert caught.value.filename == str(path)
        assert descriptors() == before


class TestEmptyAndMissing:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            Region.open(tmp_path / "missing")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "missing"))

    def test_empty_file_cannot_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(OSError, match="empty") as caught:
            Region.open(tmp_path / "empty")
        assert (caught.value.errno, caught.value.filename) == (errno.ENODATA, str(tmp_path / "empty"))

    def test_empty_file_gets_its_size_when_one_is_given(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with Region(tmp_path / "empty", 100) as region:
            assert len(region) == (tmp_path / "empty").stat().st_size == 100

    def test_empty_file_still_exists_for_create(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(FileExistsError):
            Region.create(tmp_path / "empty", 100)
        assert (tmp_path / "empty").stat().st_size == 0

    @pytest.mark.parametrize(("there", "asked", "then"), [(10, 100, 100), (100, 10, 100), (100, 100, 100)])
    def test_file_that_is_there_grows_but_never_shrinks(
        self, tmp_path: Path, there: int, asked: int, then: int
    ) -> None:
        (tmp_path / "file").write_bytes(b"x" * there)
        with Region(tmp_path / "file", asked) as region:
            assert region[:] == b"x" * there + bytes(then - there)

    def test_empty_descriptor_is_refused(self) -> None:
        fd = os.memfd_create("empty")
        try:
            with pytest.raises(OSError, match="empty") as caught:
                Region.from_fd(fd)
            assert caught.value.errno == errno.ENODATA
        finally:
            os.close(fd)

    def test_closed_descriptor_is_refused(self) -> None:
        for fd in (-1, 1 << 20):
            with pytest.raises(OSError, match=r".") as caught:
                Region.from_fd(fd)
            assert caught.value.errno == errno.EBADF

    def test_descriptor_that_is_read_only_maps_read_only(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"Hello")
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        try:
            with pytest.raises(PermissionError):
                Region.from_fd(fd)
            with Region.from_fd(fd, mode="r") as region:
                assert region.read_text() == "Hello"
                assert region.path == tmp_path / "file"
            # It was duplicated, so it is still the caller's.
            assert os.read(fd, 5) == b"Hello"
        finally:
            os.close(fd)


class TestPermissions:
    @pytest.mark.parametrize("perm", [0o600, 0o640, 0o666, 0o644, 0o400, 0o777])
    @pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777], ids=oct)
    @pytest.mark.parametrize("how", [Region.create, Region])
    def test_are_exact_in_spite_of_the_umask(self, perm: int, umask: int, how: Callable[..., Region]) -> None:
        before = os.umask(umask)
        try:
            with how("shared", 64, perm=perm) as region:
                assert stat.S_IMODE(os.fstat(region.fileno()).st_mode) == perm
        finally:
            os.umask(before)

    def test_default_is_private(self) -> None:
        with Region.create("private", 64) as region:
            assert stat.S_IMODE(os.fstat(region.fileno()).st_mode) == 0o600

    def test_of_a_file_that_is_there_stay(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x")
        (tmp_path / "file").chmod(0o604)
        with Region(tmp_path / "file", 64, perm=0o666):
            assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604

    def test_descriptor_is_not_inherited_by_programs(self) -> None:
        with Region(None, 64) as anonymous, Region.create("named", 64) as named:
            assert not os.get_inheritable(anonymous.fileno())
            assert not os.get_inheritable(named.fileno())

    @needs_root
    def test_reader_without_the_right_to_write(self, common: Path) -> None:
        with Region.create(common / "board", 64, perm=0o644) as region:
            region.write_text("Hello")
            before = region[:]
            succeed(
                f"""
                import os, sys
                from samemap import Region
                os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
                for how in (Region.open, lambda path: Region(path, 64)):
                    try:
                        how(sys.argv[1])
                    except PermissionError as error:
                        assert error.filename == sys.argv[1]
                    else:
                        raise AssertionError("opened for writing")
                with Region.open(sys.argv[1], mode="r") as region:
                    assert region.read_text() == "Hello"
                    assert region.load_u32(0) == int.from_bytes(b"Hell", sys.byteorder)
                    assert region.wait(0, 0, 60)
                    assert not region.wait(0, region.load_u32(0), 0)
                    assert region.ring(0) == 0
                    assert len(memoryview(region)) == 64
                    try:
                        region[0] = 1
                    except TypeError:
                        pass
                    else:
                        raise AssertionError("written")
                """,
                common / "board",
            )
            assert region[:] == before

    @needs_root
    @pytest.mark.parametrize("perm", [0o600, 0o640])
    def test_stranger_without_any_right_is_kept_out(self, common: Path, perm: int) -> None:
        with Region.create(common / "secret", 64, perm=perm):
            succeed(
                f"""
                import os, sys
                from samemap import Region
                os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
                for mode in ("r", "rw"):
                    try:
                        Region.open(sys.argv[1], mode=mode)
                    except PermissionError:
                        continue
                    raise AssertionError("opened")
                """,
                common / "secret",
            )


@needs_root
class TestForeignOwners:
    @pytest.fixture
    def foreign(self, common: Path) -> Path:
        path = common / "foreign"
        path.write_bytes(b"theirs" + bytes(10))
        path.chmod(0o666)
        os.chown(path, NOBODY, NOBODY)
        return path

    @OPENERS
    def test_are_refused_and_named(self, foreign: Path, how: Callable[[Path], Region]) -> None:
        before = descriptors()
        with pytest.raises(PermissionError, match=f"{NOBODY}.*any_owner") as caught:
            how(foreign)
        assert caught.value.filename == str(foreign)
        assert foreign.stat().st_size == 16
        assert descriptors() == before

    @pytest.mark.parametrize(
        "how",
        [
            lambda p: Region.open(p, any_owner=True),
            lambda p: Region.open(p, mode="r", any_owner=True),
            lambda p: Region(p, 64, any_owner=True),
        ],
    )
    def test_are_accepted_when_asked_to(self, foreign: Path, how: Callable[[Path], Region]) -> None:
        with how(foreign) as region:
            assert region.read_text() == "theirs"

    def test_root_is_nobodys_foreigner(self, common: Path) -> None:
        with (
            Region.create(common / "roots", 64, perm=0o666),
            Region.create(common / "other", 64, perm=0o666) as other,
        ):
            os.chown(other.fileno(), 12345, 12345)
            succeed(
                f"""
                import os, sys
                from samemap import Region
                os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
                with Region.open(sys.argv[1]) as region:
                    region[0] = 1
                try:
                    Region.open(sys.argv[2])
                except PermissionError as error:
                    assert "12345" in str(error) and "{NOBODY}" in str(error), error
                else:
                    raise AssertionError("opened")
                with Region.open(sys.argv[2], any_owner=True) as region:
                    region[0] = 1
                """,
                common / "roots",
                common / "other",
            )

    def test_descriptor_that_was_handed_over_is_trusted(self, foreign: Path) -> None:
        fd = os.open(foreign, os.O_RDWR)
        try:
            with Region.from_fd(fd) as region:
                assert region.read_text() == "theirs"
        finally:
            os.close(fd)
