"""Setting up: whatever is missing is named with its cure, before anything is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / ".ci"
RUST = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
THIS_PYTHON = f"exec '{sys.executable}' \"$@\""

OTHER_PROGRAMS = ("sh", "sed", "sort", "head")
PRESENT = {
    "python3": THIS_PYTHON,
    "cargo": f"echo 'cargo {RUST}.0 (d73d2caf9 2024-12-31)'",
    "gcc": "exit 0",
    "cc": "exit 0",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a folder that holds all that check-tools calls, and nothing else."""
    for name in OTHER_PROGRAMS:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    for name, script in PRESENT.items():
        write(tmp_path / name, script)
    return tmp_path


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def check_tools(path: Path) -> subprocess.CompletedProcess[str]:
    line = ["sh", str(SCRIPTS / "check-tools"), "python3"]
    environment = {"PATH": str(path)}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_nothing_is_said_when_all_is_there(path: Path) -> None:
    done = check_tools(path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("tool", "script", "complaint", "cure"),
    [
        ("python3", None, "Python (python3) is missing", "apt-get install python3 python3-venv"),
        ("python3", "exit 127", "Python (python3) does not run", "make PYTHON="),
        (
            "python3",
            f'case "$2" in *"(3, 11)"*) exit 1;; esac; {THIS_PYTHON}',
            "and 3.11 or newer is needed",
            "make PYTHON=",
        ),
        (
            "python3",
            f'case "$2" in *ensurepip*) exit 1;; esac; {THIS_PYTHON}',
            "its venv or ensurepip module is missing",
            f"apt-get install python3.{sys.version_info.minor}-venv",
        ),
        ("cargo", None, "cargo is missing", "https://rustup.rs"),
        (
            "cargo",
            "echo error: no default toolchain >&2; exit 1",
            "cargo is there but does not run",
            "rustup default",
        ),
        (
            "cargo",
            "echo 'cargo 1.9.0 (66221abde 2016-05-26)'",
            f"cargo is 1.9, and {RUST} or newer",
            "rustup update stable",
        ),
        ("gcc", None, "gcc is missing", "apt-get install gcc libc6-dev"),
        ("cc", None, "cc is missing", "apt-get install gcc libc6-dev"),
        ("gcc", "exit 1", "gcc cannot build a C program", "apt-get install libc6-dev"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(
    path: Path, tool: str, script: str | None, complaint: str, cure: str
) -> None:
    if script is None:
        (path / tool).unlink()
    else:
        write(path / tool, script)
    done = check_tools(path)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert complaint in said
    assert cure in said


def test_interpreters_are_found_once_and_shims_left_out(tmp_path: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("python3", f"python{version}"):
        (tmp_path / name).symlink_to(sys.executable)
    write(tmp_path / "python3.99", "echo no such version >&2; exit 127")

    def interpreters(*arguments: str) -> list[str]:
        line = ["bash", str(SCRIPTS / "interpreters"), *arguments]
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=100, check=True)
        return [line.split()[0] for line in done.stdout.splitlines()]

    everyone = interpreters()
    assert len(everyone) == len(set(everyone))
    own = [found for found in everyone if found.removesuffix("t") == version]
    assert own
    assert len(interpreters("--except", sys.executable)) == len(everyone) - 1
