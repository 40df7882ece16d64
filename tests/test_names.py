"""Names, paths, and the runtime directory: what is accepted, and where it leads."""

from __future__ import annotations

import os
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


def test_missing_parent_directory_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Region.create(tmp_path / "missing" / "file", 8)
    assert list(tmp_path.iterdir()) == []


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

    def test_is_made_private_when_a_name_needs_it(self, directory: Path) -> None:
        before = os.umask(0)
        try:
            Region.create("camera", 8).close()
        finally:
            os.umask(before)
        assert directory.stat().st_mode & 0o7777 == 0o700

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
