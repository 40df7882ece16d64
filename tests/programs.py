"""The examples, as programs that a test starts."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def output(process: subprocess.Popen[str]) -> str:
    """Wait until a program has ended well and said nothing on its standard error; return what it printed."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), err
    return out


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a program prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def interrupted(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C: the program ends well, and says nothing about it. Return what else it printed."""
    process.send_signal(signal.SIGINT)
    return output(process)
