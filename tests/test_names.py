"""Names, paths, and the runtime directory: what is accepted, and where it leads."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from isolated import NOBODY

from samemap import Region
from samemap.names import resolve, runtime_directory

CONTROL = [*map(chr, range(1, 32)), "\x7f"]


@pytest.mark.parametrize("name", ["camera", "a.b", "with space", "käse", "-", "~", "x" * 255, "日本" * 42])
def test_plain_name_is_a_file_in_the_runtime_directory(name: str, runtime_directory: Path) -> None:
    with Region.create(name, 8) as region:
        assert region.path == runtime_directory / name
        assert region.name == name
    assert [entry.name for entry in runtime_directory.iterdir()] == [name]


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "...", "a\0b", "\0", *CONTROL, "a\nb", "x" * 256, "é" * 128]
)
@pytest.mark.parametrize("how", [lambda n: Region.create(n, 8), lambda n: Region(n, 8), Region.open])
def test_what_is_no_name_is_refused_and_makes_nothing(name: str, how: object, runtime_directory: Path) -> None:
    with pytest.raises(ValueError, match="is no name"):
        how(name)  # type: ignore[operator]
    assert list(runtime_directory.iterdir()) == []


@pytest.mark.parametrize("name", ["a\0/b", "/tmp/\0", "./\0"])
def test_nul_in_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        resolve(name)
    with pytest.raises(ValueError, match="NUL"):
        resolve(Path(name))


@pytest.mark.parametrize("name", [b"bytes", 7, None, 1.5, ["camera"]])
def test_what_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(TypeError):
        resolve(name)  # type: ignore[arg-type]


def test_path_of_bytes_is_refused() -> None:
    class BytesPath(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return b"/tmp/x"

    with pytest.raises(TypeError, match="must be text"):
        resolve(BytesPath())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../outside", "./here", "sub/../here", "sub/file"])
def test_slash_makes_it_a_path_from_the_working_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime_directory: Path
) -> None:
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    monkeypatch.chdir(work)
    with Region.create(name, 8) as region:
        assert region.path == Path(os.path.abspath(work / name))  # noqa: PTH100 - not through links
        assert (work / name).stat().st_size == 8
        # The path was fixed when it was opened: moving elsewhere afterwards must not make unlink() miss it.
        monkeypatch.chdir("/")
        region.unlink()
    assert not (work / name).exists()
    assert list(runtime_directory.iterdir()) == []


def test_pathlike_is_a_path_even_without_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(Path("camera")) == str(tmp_path / "camera")
    assert resolve(Path(".hidden")) == str(tmp_path / ".hidden")


def test_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 256)
    with pytest.raises(OSError, match="too long") as caught:
        Region.create(path, 8)
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [Region.create, Region])
def test_missing_parent_directory_is_not_made_up(how: Callable[[Path, int], Region], tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError, match=f"its directory {missing} does not exist; make it first") as caught:
        how(missing / "file", 8)
    assert "create()" not in str(caught.value)
    assert caught.value.filename == str(missing / "file")
    assert list(tmp_path.iterdir()) == []


def test_waiting_in_vain_is_not_answered_with_the_advice_to_wait(tmp_path: Path) -> None:
    (tmp_path / "empty").touch(0o600)
    for name, number in (("missing", errno.ENOENT), ("empty", errno.ENODATA)):
        with pytest.raises(OSError, match=r"is the program that makes it running\? \(waited 0.01 s\)") as caught:
            Region.open(tmp_path / name, wait=0.01)
        assert caught.value.errno == number
        assert "wait=" not in str(caught.value)


class SlashAtTheEnd(os.PathLike[str]):
    def __fspath__(self) -> str:
        return "frames/"


@pytest.mark.parametrize("name", ["frames/", "/tmp/frames//", "./", "/", SlashAtTheEnd()])
def test_path_of_a_directory_is_refused(
    name: str | os.PathLike[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="names a directory"):
        Region.create(name, 8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("perm", [0o1000, 0o4600, -1, 600, 1 << 70])
@pytest.mark.parametrize("how", [Region.create, Region])
def test_what_are_no_permission_bits_is_refused(how: Callable[..., Region], perm: int, runtime_directory: Path) -> None:
    with pytest.raises(ValueError, match=f"perm={perm:#o} is outside 0 to 0o777"):
        how("camera", 8, perm=perm)
    assert list(runtime_directory.iterdir()) == []


def test_decimal_permission_bits_are_recognised() -> None:
    with pytest.raises(ValueError, match=r"perm=0o1130 .* did you mean perm=0o600\?"):
        Region(None, 8, perm=600)
    with pytest.raises(ValueError, match=r"permission bits are octal$"):
        Region(None, 8, perm=680)


class TestRuntimeDirectory:
    @pytest.fixture
    def directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "run"
        monkeypatch.setenv("SAMEMAP_DIR", str(path))
        return path

    def test_default_is_private_shared_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SAMEMAP_DIR")
        # Only asked for, not made: the user's real directory is not the tests' to touch.
        monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_001)
        assert runtime_directory() == Path("/dev/shm/samemap-4000000001")

    def test_empty_setting_counts_as_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SAMEMAP_DIR", "")
        monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_001)
        assert runtime_directory() == Path("/dev/shm/samemap-4000000001")

    @pytest.mark.parametrize("umask", [0, 0o777])
    def test_is_made_private_when_a_name_needs_it(self, directory: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            Region.create("camera", 8).close()
        finally:
            os.umask(before)
        assert directory.stat().st_mode & 0o7777 == 0o700

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
    def test_that_cannot_be_made_names_the_cure(
        self, directory: Path, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Root may write everywhere, and no file system is full or read-only just for us.
        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "mkdir", refuse)
        with pytest.raises(OSError, match=r"cannot make.*set SAMEMAP_DIR to a directory of your own") as caught:
            Region.create("camera", 8)
        assert (caught.value.errno, caught.value.filename) == (number, str(directory))

    def test_below_a_file_names_the_cure(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        directory.write_text("")
        monkeypatch.setenv("SAMEMAP_DIR", str(directory / "below" / "it"))
        with pytest.raises(OSError, match="set SAMEMAP_DIR to a directory of your own"):
            Region.create("camera", 8)

    def test_is_not_made_by_opening(self, directory: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Region.open("camera")
        assert not directory.exists()

    def test_symbolic_link_is_refused(self, directory: Path, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "real")
        with pytest.raises(PermissionError, match="symbolic link") as caught:
            Region.create("camera", 8)
        assert caught.value.filename == str(directory)
        assert list((tmp_path / "real").iterdir()) == []

    def test_dangling_symbolic_link_is_refused(self, directory: Path, tmp_path: Path) -> None:
        directory.symlink_to(tmp_path / "nowhere")
        with pytest.raises(PermissionError, match="symbolic link"):
            Region.create("camera", 8)
        assert not (tmp_path / "nowhere").exists()

    def test_file_is_refused(self, directory: Path) -> None:
        directory.write_text("")
        with pytest.raises(NotADirectoryError, match="not a directory"):
            Region.create("camera", 8)

    @pytest.mark.parametrize("mode", [0o777, 0o1777, 0o720, 0o702, 0o770])
    @pytest.mark.parametrize("how", [lambda: Region.create("camera", 8), lambda: Region.open("camera")])
    def test_directory_that_others_may_write_to_is_refused(self, directory: Path, mode: int, how: object) -> None:
        directory.mkdir()
        directory.chmod(mode)
        with pytest.raises(PermissionError, match=f"mode {mode:04o}.*chmod 700"):
            how()  # type: ignore[operator]
        assert list(directory.iterdir()) == []

    @pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o711])
    def test_directory_that_others_may_only_read_is_accepted(self, directory: Path, mode: int) -> None:
        directory.mkdir()
        directory.chmod(mode)
        Region.create("camera", 8).close()
        assert (directory / "camera").exists()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
    def test_directory_of_somebody_else_is_refused(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        os.chown(directory, NOBODY, NOBODY)
        with pytest.raises(PermissionError, match=f"belongs to uid {NOBODY}") as caught:
            Region.create("camera", 8)
        assert caught.value.filename == str(directory)
        assert list(directory.iterdir()) == []
