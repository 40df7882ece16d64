"""Waiting for a file that somebody else makes, in whatever way they make it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from isolated import asleep, until

from samemap import PAGE_SIZE, Region

WAITER = """
import sys
from samemap import Region
print("waiting", flush=True)
with Region.open(sys.argv[1], wait=float(sys.argv[2]), mode="r") as region:
    print(len(region), region.read_text())
"""


@pytest.fixture
def waiter(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Start a process that waits for the file, and come back when it sleeps."""

    def begin(name: object, seconds: float = 60) -> subprocess.Popen[str]:
        process = start(str(name), str(seconds), source=WAITER)
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        until(lambda: process.poll() is not None or asleep(process.pid), "the waiter's sleep")
        return process

    return begin


def answer(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), err
    return out.strip()


def test_file_that_is_created_whole(waiter: Callable[..., subprocess.Popen[str]]) -> None:
    process = waiter("camera")
    with Region.create("camera", 100):
        assert answer(process) == "100"


def test_file_in_a_runtime_directory_that_is_missing_too(
    waiter: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMEMAP_DIR", str(tmp_path / "later"))
    process = waiter("camera")
    assert not (tmp_path / "later").exists()
    with Region.create("camera", 100):
        assert answer(process) == "100"


def test_file_that_a_c_program_creates_empty_and_grows_later(
    waiter: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = waiter(tmp_path / "file")
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Empty is not there yet: an early answer would be an ENODATA.
        until(lambda: process.poll() is not None or asleep(process.pid), "the waiter's sleep")
        assert process.poll() is None
        os.ftruncate(fd, 5 * PAGE_SIZE)
    finally:
        os.close(fd)
    assert answer(process) == str(5 * PAGE_SIZE)


def test_empty_file_that_is_grown(waiter: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = waiter(tmp_path / "file")
    assert process.poll() is None
    os.truncate(tmp_path / "file", 10)
    assert answer(process) == "10"


def test_file_that_is_moved_into_place(waiter: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    (tmp_path / "draft").write_bytes(b"Hello\0")
    process = waiter(tmp_path / "file")
    (tmp_path / "draft").rename(tmp_path / "file")
    assert answer(process) == "6 Hello"


def test_empty_file_that_is_replaced(waiter: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "draft").write_bytes(b"Hello\0")
    process = waiter(tmp_path / "file")
    (tmp_path / "draft").rename(tmp_path / "file")
    assert answer(process) == "6 Hello"


def test_file_that_comes_goes_and_comes_again(waiter: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = waiter(tmp_path / "file")
    for _ in range(100):
        (tmp_path / "file").touch()
        (tmp_path / "file").unlink()
    assert process.poll() is None
    (tmp_path / "draft").write_bytes(b"Hello\0")
    (tmp_path / "draft").rename(tmp_path / "file")
    assert answer(process) == "6 Hello"


def test_many_wait_for_one(waiter: Callable[..., subprocess.Popen[str]]) -> None:
    processes = [waiter("camera") for _ in range(5)]
    with Region.create("camera", 100):
        assert [answer(process) for process in processes] == ["100"] * 5


def test_for_ever_ends_with_ctrl_c(waiter: Callable[..., subprocess.Popen[str]]) -> None:
    process = waiter("camera", float("inf"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGINT, 130)
    assert err.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("seconds", [0, 0.0, 0.02, 0.2])
def test_time_that_runs_out(seconds: float, tmp_path: Path) -> None:
    before = time.monotonic()
    with pytest.raises(FileNotFoundError, match=rf"waited {seconds:g} s") as caught:
        Region.open(tmp_path / "missing", wait=seconds)
    assert time.monotonic() - before >= seconds
    assert caught.value.filename == str(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_time_that_runs_out_over_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(OSError, match="waited") as caught:
        Region.open(tmp_path / "empty", wait=0.02)
    assert (caught.value.errno, caught.value.filename) == (errno.ENODATA, str(tmp_path / "empty"))


@pytest.mark.parametrize("seconds", [0, 0.01, 60, float("inf")])
def test_file_that_is_there_is_not_waited_for(seconds: float) -> None:
    with Region.create("there", 100), Region.open("there", wait=seconds) as region:
        assert len(region) == 100


def test_what_never_will_be_a_file_ends_the_wait(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        Region.open(tmp_path / "directory", wait=60)
    assert caught.value.errno in (errno.ENODEV, errno.EISDIR)


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("-inf")])
def test_senseless_times_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="wait"):
        Region.open("camera", wait=seconds)


def test_waiting_and_creating_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"wait=.*size="):
        Region("camera", 100, wait=1)


def test_anonymous_memory_has_nothing_to_wait_for() -> None:
    with pytest.raises(ValueError, match="anonymous"):
        Region.open(None)  # type: ignore[arg-type]
