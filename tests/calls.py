"""Functions that the tests of pools have called by workers, which must be able to import them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

#: What the initializer has been told, in a worker.
told: Any = None
#: What a worker has been given to keep.
kept: list[Any] = []


def remember(value: Any) -> None:
    global told
    told = value


def recall() -> Any:
    return told


def pid(_: object = None) -> int:
    return os.getpid()


def same(value: Any) -> Any:
    return value


def keyed(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def fail(error: BaseException) -> None:
    raise error


def look(array: Any) -> tuple[bool, bool, float]:
    """Tell whether it may be written, whether it has its own memory, and what its sum is."""
    return array.flags.writeable, array.flags.owndata, float(array.sum())


def keep(array: Any) -> int:
    kept.append(array)
    return len(kept)


def ones(count: int) -> Any:
    return np.ones(count, "u1")


def write_into(array: Any) -> None:
    array[0] = 1


def wait_for(path: str, value: Any = None) -> Any:
    """Return when the file is there."""
    while not Path(path).exists():
        time.sleep(0.001)
    return value


def say_and_wait(path: str) -> None:
    """Write one's number into a file, and wait for whatever comes."""
    Path(path + ".new").write_text(str(os.getpid()))
    Path(path + ".new").rename(path)
    signal.pause()


def die(how: str) -> None:
    if how == "exit":
        os._exit(7)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    os.kill(os.getpid(), signal.SIGKILL)


def die_unless(path: str, times: int) -> int:
    """Die that many times, as a file counts them; then return how many."""
    with Path(path).open("a") as file:
        file.write("x")
    if (count := Path(path).stat().st_size) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


def sometimes_die(number: int) -> int:
    if number % 25 == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class Unloadable:
    """It can be pickled, and cannot be brought back."""

    def __reduce__(self) -> Any:
        return _refuse, (os.getpid(),)


def _refuse(pid: int) -> None:
    raise LookupError("it will not come back")


def unloadable() -> Unloadable:
    return Unloadable()


class Particular(Exception):
    """An error that its pickle cannot bring back."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("particular")


def fail_particularly() -> None:
    raise Particular(1, 2)


def unpicklable() -> Any:
    return lambda: None
