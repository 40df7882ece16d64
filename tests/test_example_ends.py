"""How examples end: without their arguments, and at Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import EXAMPLES

from samemap import Region

Start = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize("name", ["bell", "handle_over_socket", "sensor", "dashboard"])
def test_without_arguments_the_usage_is_one_line(name: str, start: Start, runtime_directory: Path) -> None:
    example = start(sys.executable, EXAMPLES / f"{name}.py")
    out, err = example.communicate(timeout=60)
    assert (example.returncode, out) == (1, "")
    assert err.startswith(f"usage: python examples/{name}.py ")
    assert err.count("\n") == 1
    assert list(runtime_directory.iterdir()) == []


def test_reader_ends_quietly_at_ctrl_c(start: Start) -> None:
    with Region.create("words", 4096) as region:
        region.write_text("Hello")
        reader = start(sys.executable, EXAMPLES / "reader.py")
        assert reader.stdout is not None
        assert reader.stdout.readline() == "Hello\n"
        reader.send_signal(signal.SIGINT)
        out, err = reader.communicate(timeout=60)
    assert (reader.returncode, out, err) == (0, "", "")


def test_every_example_is_under_forty_lines() -> None:
    assert [path.name for path in EXAMPLES.glob("*.py") if len(path.read_text().splitlines()) >= 40] == []
