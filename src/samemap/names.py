"""Where things live: names, paths, and the runtime directory."""

from __future__ import annotations

import errno
import os
import stat

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["resolve", "runtime_directory"]

#: tmpfs keeps short names in inodes; 255 is the kernel's limit for one component (``NAME_MAX``).
LONGEST_NAME = 255

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the kernel's own tmpfs; a private directory inside it is checked below


def runtime_directory(*, create: bool = False) -> Path:
    """Return the directory in which plain names are files.

    It is ``$SAMEMAP_DIR`` when that is set, else ``/dev/shm/samemap-UID``: memory, private to the user (0700).
    A directory that is a symbolic link, belongs to someone else, or that others may write to is refused,
    because whoever can write there can swap our files.

    Args:
        create: Make it (mode 0700) when it is missing.

    Returns:
        Its path, whether or not it exists yet.

    Raises:
        PermissionError: It exists, but it is not a private directory of this user; or it may not be made.
        OSError: It cannot be made (``EROFS``, ``ENOSPC``).

    Example:
        >>> import os
        >>> os.environ["SAMEMAP_DIR"] = "/tmp/samemap-doc"
        >>> runtime_directory()
        PosixPath('/tmp/samemap-doc')
        >>> del os.environ["SAMEMAP_DIR"]
    """
    from pathlib import Path

    return Path(_private_directory(create))


def _private_directory(create: bool) -> str:
    chosen = os.environ.get("SAMEMAP_DIR")
    path = os.path.abspath(chosen) if chosen else f"{_SHARED_MEMORY}/samemap-{os.geteuid()}"
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        if not create:
            return path
        _make_private(path)
        found = os.lstat(path)
    _refuse_unsafe(path, found)
    return path


def _make_private(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            # Two creators at once: both are content with the directory of either.
            return
        # A umask may have taken away what we need ourselves.
        os.chmod(path, 0o700)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot make the runtime directory ({os.strerror(error.errno or 0)}); "
            "set SAMEMAP_DIR to a directory of your own",
            path,
        ) from error


def _refuse_unsafe(path: str, found: os.stat_result) -> None:
    cure = "remove it, or set SAMEMAP_DIR to a directory of your own with mode 0700"
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(errno.EPERM, f"the runtime directory is a symbolic link; {cure}", path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, f"the runtime directory is not a directory; {cure}", path)
    if found.st_uid != os.geteuid():
        raise PermissionError(
            errno.EPERM,
            f"the runtime directory belongs to uid {found.st_uid}, and this process runs as uid {os.geteuid()}; {cure}",
            path,
        )
    if found.st_mode & 0o022:
        raise PermissionError(
            errno.EPERM,
            f"others may write to the runtime directory (mode {stat.S_IMODE(found.st_mode):04o}, "
            f"expected 0700); chmod 700 it, or {cure}",
            path,
        )


def resolve(name: str | os.PathLike[str], *, create: bool = False) -> str:
    """Turn a name into the path of its file.

    A plain name is a file in the runtime directory; anything that holds a ``/``, and every ``os.PathLike``,
    is that very file.

    Args:
        name: The name, 1 to 255 bytes when encoded, without control characters, not starting with a dot; or a path.
        create: Make the runtime directory when a plain name needs it.

    Returns:
        The absolute path, not resolved through symbolic links.

    Raises:
        ValueError: The name is empty, too long, starts with a dot, or holds a NUL or control character; or the path
            ends in ``/``, as those of directories do.
        TypeError: It is neither a string nor a path.

    Example:
        >>> resolve("/tmp/frames.bin")
        '/tmp/frames.bin'
        >>> resolve("..")
        Traceback (most recent call last):
        ValueError: '..' is no name: names do not start with a dot; write './..' for the file of that name here
    """
    if isinstance(name, os.PathLike):
        text = os.fspath(name)
        if not isinstance(text, str):
            raise TypeError(f"a path must be text, not {type(text).__name__}: {text!r}")
        if "\0" in text or not text:
            raise ValueError(f"{text!r} is no path: it is empty or holds a NUL character")
        return _absolute(text)
    if not isinstance(name, str):
        raise TypeError(
            f"a name, which comes first, is a str, an os.PathLike or None, not {type(name).__name__}: {name!r}"
        )
    if "\0" in name:
        raise ValueError(f"{name!r} is no name: it holds a NUL character")
    if "/" in name:
        return _absolute(name)
    if not name:
        raise ValueError("'' is no name: it is empty; None asks for anonymous memory")
    if name.startswith("."):
        raise ValueError(
            f"{name!r} is no name: names do not start with a dot; write './{name}' for the file of that name here"
        )
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise ValueError(f"{name!r} is no name: it holds a control character")
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise ValueError(f"{name[:32]!r}... is no name: {len(os.fsencode(name))} bytes, at most {LONGEST_NAME}")
    return f"{_private_directory(create)}/{name}"


def _absolute(path: str) -> str:
    # abspath would drop the slash, and make a file where a directory was meant.
    if path.endswith("/"):
        raise ValueError(f"{path!r} ends in '/', so it names a directory; a region is a file in it")
    return os.path.abspath(path)
