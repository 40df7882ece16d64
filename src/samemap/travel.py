"""How objects go to other processes: by descriptor to one that is being spawned, else by path, else by descriptor."""

from __future__ import annotations

import errno
import os

from . import files

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Protocol, Self

    class Traveller(Protocol):
        """What can travel."""

        #: What people call it.
        _noun: ClassVar[str]

        @property
        def name(self) -> str | None: ...

        @property
        def path(self) -> os.PathLike[str] | None: ...

        def close(self) -> None: ...

        def _descriptor(self) -> int: ...

        @classmethod
        def _from_path(cls, path: str, name: str | None, details: tuple[Any, ...]) -> Self: ...

        @classmethod
        def _from_descriptor(cls, fd: int, name: str | None, details: tuple[Any, ...]) -> Self: ...


__all__ = ["reduce"]


def reduce(thing: Traveller, details: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what ``__reduce__`` must.

    Args:
        thing: What travels.
        details: What its class needs to open it again, beside the file.

    Returns:
        A function, its arguments, and the attributes that a subclass's instance has.
    """
    # Imported here because they cost more than all of samemap, and most programs never pickle a region.
    from multiprocessing import context, reduction

    # Our own classes have none; instances of subclasses do.
    attributes = getattr(thing, "__dict__", None) or None
    fd, path = thing._descriptor(), thing.path
    here = (type(thing), thing.name, details)
    popen = context.get_spawning_popen()
    if popen is None and path is not None and files.is_same_file(fd, path):
        identity = os.fstat(fd)
        return _from_path, (*here, str(path), identity.st_dev, identity.st_ino), attributes
    if popen is not None:
        fd = _by_itself(fd, popen)
    return _from_descriptor, (*here, reduction.DupFd(fd)), attributes


#: The descriptors that go to each process that is being spawned.
_sent: Any = None


def _by_itself(fd: int, popen: Any) -> int:
    """Return the descriptor, or a duplicate if it goes to that process already: several objects may be in one file."""
    global _sent
    import weakref

    if _sent is None:
        _sent = weakref.WeakKeyDictionary()
    sent: set[int] = _sent.setdefault(popen, set())
    if fd in sent:
        fd = os.dup(fd)
        # Nobody tells when it has been sent; with the process's object it goes at the latest.
        weakref.finalize(popen, os.close, fd)
    sent.add(fd)
    return fd


def _from_path(
    cls: type[Traveller], name: str | None, details: tuple[Any, ...], path: str, device: int, inode: int
) -> Traveller:
    thing = cls._from_path(path, name, details)
    found = os.fstat(thing._descriptor())
    if (found.st_dev, found.st_ino) != (device, inode):
        thing.close()
        raise FileNotFoundError(
            errno.ENOENT,
            f"the {cls._noun} was replaced on its way here: inode {inode} was sent, "
            f"and inode {found.st_ino} has the name now",
            path,
        )
    return thing


def _from_descriptor(cls: type[Traveller], name: str | None, details: tuple[Any, ...], handle: Any) -> Traveller:
    from multiprocessing import AuthenticationError

    try:
        fd = handle.detach()
    except (EOFError, FileNotFoundError, ConnectionError, AuthenticationError) as error:
        called = f"an anonymous {cls._noun}" if name is None else f"the {cls._noun} {name!r}"
        raise OSError(
            errno.ENODATA,
            f"{called} did not arrive: its sender has ended, or it was received before; "
            f"keep the sender alive until it has arrived, or use a named {cls._noun}",
        ) from error
    try:
        return cls._from_descriptor(fd, name, details)
    finally:
        os.close(fd)
