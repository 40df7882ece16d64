"""The file behind a descriptor: which path it has, and taking that away."""

from __future__ import annotations

import errno
import os

__all__ = ["is_same_file", "path_of", "remove_name"]


def is_same_file(fd: int, path: str | os.PathLike[str]) -> bool:
    """Tell whether the file that has this path now is the open one."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def path_of(fd: int) -> str | None:
    """Return the path under which the kernel knows an open file, if it is still that file."""
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
    return path if is_same_file(fd, path) else None


def remove_name(fd: int, path: os.PathLike[str] | None, missing_ok: bool) -> None:
    """Remove the path of an open file, unless another file has it now.

    Args:
        fd: The open file.
        path: Where it was opened; ``None`` for memory without a name.
        missing_ok: Say nothing when the name is gone, or there never was one.

    Raises:
        FileNotFoundError: The name is gone, or another file has it now (that one is left alone).
    """
    if path is not None and is_same_file(fd, path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            if not missing_ok:
                raise
    elif not missing_ok:
        raise FileNotFoundError(
            errno.ENOENT,
            "anonymous memory has no name to remove: it goes with its last holder"
            if path is None
            else "the name is gone, or belongs to another file now; missing_ok=True accepts that",
            None if path is None else os.fspath(path),
        )
