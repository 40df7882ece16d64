"""C programs, compiled once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent.parent / "c"


@pytest.fixture(scope="session")
def c_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the programs of tests/c, compiled without a warning."""
    folder = tmp_path_factory.mktemp("c")
    for source in SOURCES.glob("*.c"):
        line = [
            "gcc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-std=c11",
            "-o",
            str(folder / source.stem),
            str(source),
        ]
        done = subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
    return folder
