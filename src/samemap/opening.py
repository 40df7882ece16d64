"""What all constructors check, and waiting until a file is there."""

from __future__ import annotations

import errno
import os
import time
from operator import index

from ._core import wait_for_file

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import SupportsIndex, TypeVar

    T = TypeVar("T")

__all__ = ["MOST", "check_number", "check_perm", "check_timeout", "check_wait", "is_writable", "when_there"]


#: The largest number that the compiled half takes.
MOST = 2**63 - 1


def is_writable(mode: str) -> bool:
    """Tell whether a mode, ``"r"`` or ``"rw"``, is for writing too; refuse others."""
    if mode not in ("r", "rw"):
        raise ValueError(f"mode is 'r' (read-only) or 'rw', not {mode!r}")
    return mode == "rw"


def check_number(name: str, number: SupportsIndex, least: int, most: int) -> int:
    """Return an integer, one of Python's own; refuse one that is out of range, by the name of its argument."""
    found = index(number)
    if not least <= found <= most:
        raise ValueError(f"{name} is {least} to {most}, not {found}")
    return found


def check_perm(perm: int) -> None:
    """Refuse what are no permission bits."""
    if not 0 <= perm <= 0o777:
        slip = f", did you mean perm=0o{perm}?" if set(str(perm)) <= set("01234567") and perm <= 777 else ""
        raise ValueError(f"perm={perm:#o} is outside 0 to 0o777; permission bits are octal{slip}")


def check_wait(wait: float | None) -> None:
    """Refuse what is no time to wait for a file."""
    if wait is not None and not wait >= 0:
        raise ValueError(f"wait must be a number of seconds that is not negative, not {wait!r}")


def check_timeout(timeout: float | None) -> None:
    """Refuse what is no time to wait."""
    if timeout is not None and not timeout >= 0:
        raise ValueError(
            f"timeout must be a number of seconds that is not negative, or None to wait for ever, not {timeout!r}"
        )


def when_there(attempt: Callable[[], T], path: str | None, creates: bool, wait: float | None) -> T:
    """Open a file, as soon as it is there.

    Args:
        attempt: Opens it.
        path: Where it is expected; ``None`` for memory without a name.
        creates: Whether the attempt makes the file when it is missing.
        wait: Seconds to wait until the file exists and is not empty; ``None`` for not at all.

    Returns:
        What the attempt returned.

    Raises:
        OSError: What the last attempt raised; it says so when the file was waited for.
    """
    deadline = None if wait is None else time.monotonic() + wait
    while True:
        try:
            return attempt()
        except OSError as error:
            if path is None or error.errno not in (errno.ENOENT, errno.ENODATA):
                raise
            if creates and not os.path.isdir(parent := os.path.dirname(path)):
                error.strerror = f"its directory {parent} does not exist; make it first"
            if deadline is None:
                raise
            left = deadline - time.monotonic()
            if left <= 0 or not wait_for_file(path, left):
                what = str(error.strerror).partition("; ")[0]
                error.strerror = f"{what}; is the program that makes it running? (waited {wait:g} s)"
                raise
