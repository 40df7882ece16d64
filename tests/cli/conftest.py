"""The command line as its users run it: in this process, and as real programs where that matters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from isolated import NOBODY

from samemap import Region
from samemap.cli import commands

Run = Callable[..., Result]
Program = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run() -> Run:
    """Run a command in this process; an exception that escapes it fails the test."""

    def command(*arguments: str, **more: object) -> Result:
        result = CliRunner().invoke(commands, arguments, **more)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return command


@pytest.fixture
def samemap(start: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch) -> Program:
    """Start a command as a program of its own."""
    # Where it is set, nothing is ever left to flush, and a command that forgets to would pass.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)

    def program(*arguments: str, **more: object) -> subprocess.Popen[str]:
        return start(
            sys.executable,
            "-m",
            "samemap",
            *arguments,
            # A shell that starts the tests in the background ignores SIGINT, and so would its grandchildren.
            **{
                "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                "encoding": "utf-8",
                **more,
            },
        )

    return program


@pytest.fixture
def last() -> Iterator[Region]:
    """Hold the region "last", 4096 bytes."""
    with Region.create("last", 4096) as region:
        yield region


@pytest.fixture
def foreign(last: Region) -> Region:
    """Give the region "last" to another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(last.fileno(), 12345, 12345)
    return last


@pytest.fixture
def shared() -> Iterator[Path]:
    """Give a directory in memory that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="samemap-shared-", dir="/dev/shm") as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


@pytest.fixture
def nobody(start: Callable[..., subprocess.Popen[str]]) -> Program:
    """Start a command as another user, who owns nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # All is imported before: the other user may not read where this interpreter's files are.
    source = (
        "import os, sys, queue, numpy, samemap.cli.pictures, samemap.dtypes, samemap.encodings\n"
        "from samemap.cli import main\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "main()"
    )
    return lambda *arguments, **more: start(*arguments, source=source, encoding="utf-8", **more)


@pytest.fixture
def doing(start: Callable[..., subprocess.Popen[str]]) -> Callable[[str], subprocess.Popen[str]]:
    """Start processes that do something with samemap's objects, say so, and then sleep until they are killed."""

    def do(source: str) -> subprocess.Popen[str]:
        process = start(
            source=f"import threading, time\nfrom samemap import *\n{source}\nprint('ready')\ntime.sleep(600)"
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        return process

    return do


@pytest.fixture
def killed(doing: Callable[[str], subprocess.Popen[str]]) -> Callable[[str], int]:
    """Let a process do something and kill it with SIGKILL; return its pid."""

    def do_and_die(source: str) -> int:
        process = doing(source)
        process.kill()
        process.wait()
        return process.pid

    return do_and_die
