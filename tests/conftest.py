"""What every test shares: a runtime directory of its own, and no leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from programs import EXAMPLES

from samemap import Region


def pytest_configure() -> None:
    """Give the processes of the tests signals that work: shells and nohup(1) start programs with some ignored."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def runtime_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test, and the processes it starts, a private runtime directory in memory."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="samemap-test-", dir="/dev/shm") as directory:
        monkeypatch.setenv("SAMEMAP_DIR", directory)
        yield Path(directory)


@pytest.fixture
def region() -> Iterator[Region]:
    """Give 64 bytes of anonymous memory."""
    with Region(None, 64) as region:
        yield region


@pytest.fixture
def readonly(runtime_directory: Path) -> Iterator[Region]:
    """Give a region of 64 bytes, mapped read-only, that starts with "Hello"."""
    with Region.create("readonly", 64) as writer:
        writer[:5] = b"Hello"
        with Region.open("readonly", mode="r") as region:
            yield region


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start unrelated processes (a program's arguments, or Python source), and kill what is left of them."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str | os.PathLike[str], source: str | None = None, **more: object) -> subprocess.Popen[str]:
        line = [str(a) for a in arguments]
        if source is not None:
            line = [sys.executable, "-u", "-c", source, *line]
        options: dict[str, object] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        process = subprocess.Popen(line, **{**options, **more})  # type: ignore[call-overload]
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def example(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Start an example by its name, with its arguments."""

    def run(name: str, *arguments: object, **more: object) -> subprocess.Popen[str]:
        line = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
        return start(*line, **more)

    return run
