"""`Region`: raw bytes that processes share, exactly as ``mmap(2)`` gives them."""

from __future__ import annotations

import os

from . import arrays, files, handles, opening, travel
from ._core import Region as Compiled
from ._core import RegionStats
from .names import resolve

# Not from typing, whose import alone costs as much as the interpreter's own start.
# So typing.get_type_hints() cannot resolve these names; type checkers and inspect.signature() need not.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Any, ClassVar, Literal, Self, SupportsIndex

    from numpy.typing import DTypeLike, NDArray

    Mode = Literal["r", "rw"]

__all__ = ["Region", "RegionStats"]


class Region(Compiled):
    """Raw shared bytes, with no header: a C program sees its own bytes at offset 0.

    ``Region(name, size)`` opens the region, or creates it when it is missing or empty; `create` and `open` insist.
    Leaving a ``with`` block closes it. Closing, and the exit of any process, deletes nothing: `unlink` does;
    anonymous memory goes with its last holder.

    Args:
        name: A plain name is a file in the runtime directory (``/dev/shm/samemap-UID``); anything with a ``/``,
            or an ``os.PathLike``, is that file; ``None`` is anonymous memory (``memfd_create(2)``, sealed against
            shrinking), which children inherit and `send_handle` hands to strangers.
        size: Bytes. Needed to create; an existing file that is smaller grows to it, a larger one stays.
        mode: ``"rw"``, or ``"r"`` to map read-only, which needs only the permission to read.
        max_size: Bytes of address space to reserve. Up to it, growth moves nothing: live views stay valid, and other
            processes see the growth without doing anything. It costs no memory. By default 1 GiB or 8 times the
            size, whichever is more.
        perm: Permission bits of a file that is created, exactly (the umask does not apply).
        wait: Seconds to wait for a file that is missing or still empty; ``math.inf`` for ever.
        sparse: Do not reserve space on the file system: pages are taken when they are first written.
        populate: Bring all pages into memory now.
        follow_symlinks: Accept a symbolic link as the last part of the path.
        any_owner: Accept a file that belongs neither to this user nor to root.

    Raises:
        FileNotFoundError: Nothing is there, and no ``size`` was given; or ``wait`` ran out; or the directory that it
            would be made in is missing.
        OSError: ``ENOSPC``: the file system has no room for ``size``; ``ENOMEM``: the machine or container has no
            memory for it; ``ENODATA``: the file is empty, and neither ``size`` nor ``wait`` was given; ``ELOOP``: the
            path is a symbolic link.
        PermissionError: The file belongs to another user, or this user may not open it in that mode.
        ValueError: A size that is not positive or exceeds ``max_size``, a name that is none, ``perm`` outside 0 to
            0o777, or arguments that contradict each other (``size`` with ``wait``, or with ``mode="r"``).

    Example:
        >>> with Region(None, 4096) as region:
        ...     region.write_text("Hello"), region[0:5]
        (6, b'Hello')
    """

    __slots__ = ("__weakref__", "_name")

    _noun: ClassVar[str] = "region"
    _name: str | None

    def __new__(  # noqa: D102 - the class describes it
        cls,
        name: str | os.PathLike[str] | None = None,
        size: int | None = None,
        *,
        mode: Mode = "rw",
        max_size: int | None = None,
        perm: int = 0o600,
        wait: float | None = None,
        sparse: bool = False,
        populate: bool = False,
        follow_symlinks: bool = False,
        any_owner: bool = False,
    ) -> Self:
        how: Literal["open", "open-or-create", "anonymous"]
        if name is None:
            if size is None:
                raise ValueError("anonymous memory needs a size: Region(None, size)")
            if mode != "rw":
                raise ValueError(f"anonymous memory is made writable, not mode={mode!r}")
            how = "anonymous"
        elif size is None:
            how = "open"
        elif mode == "r":
            raise ValueError("size= makes the region or grows it, and mode='r' only reads: give one of them")
        else:
            how = "open-or-create"
        return cls._make(name, how, size, mode, max_size, perm, wait, sparse, populate, follow_symlinks, any_owner)

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        size: int,
        *,
        max_size: int | None = None,
        perm: int = 0o600,
        sparse: bool = False,
        populate: bool = False,
    ) -> Self:
        """Create a region that must not exist yet; it appears whole, filled with zeros.

        Args:
            name: As for `Region`; ``None`` makes anonymous memory.
            size: Bytes, at least 1.
            max_size: Bytes of address space to reserve.
            perm: Permission bits of the file, exactly.
            sparse: Do not reserve space on the file system.
            populate: Bring all pages into memory now.

        Returns:
            The region, writable.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``, ``ENOMEM``: there is no room for ``size`` bytes; nothing was made.
            FileNotFoundError: The directory that it would be made in is missing.
            ValueError: ``size`` is below 1 or above ``max_size``, or ``perm`` is outside 0 to 0o777.

        Example:
            >>> region = Region.create("doc-create", 4096)
            >>> Region.create("doc-create", 4096)
            Traceback (most recent call last):
            FileExistsError: [Errno 17] ...
            >>> region.unlink()
            >>> region.close()
        """
        how: Literal["create", "anonymous"] = "anonymous" if name is None else "create"
        return cls._make(name, how, size, "rw", max_size, perm, None, sparse, populate, False, False)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        mode: Mode = "rw",
        max_size: int | None = None,
        wait: float | None = None,
        populate: bool = False,
        follow_symlinks: bool = False,
        any_owner: bool = False,
    ) -> Self:
        """Open a region that exists, whoever made it.

        Args:
            name: As for `Region`.
            mode: ``"rw"``, or ``"r"`` for read-only.
            max_size: Bytes of address space to reserve.
            wait: Seconds to wait until the file exists and is not empty; ``math.inf`` for ever.
            populate: Bring all pages into memory now.
            follow_symlinks: Accept a symbolic link.
            any_owner: Accept a file of any user.

        Returns:
            The region.

        Raises:
            FileNotFoundError: It does not exist, also after ``wait`` seconds.
            OSError: ``ENODATA``: it is empty, also after ``wait`` seconds.
            PermissionError: It belongs to another user, or may not be opened in that mode.

        Example:
            >>> Region.open("doc-missing", wait=0.01)
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] ...
        """
        if name is None:
            raise ValueError("anonymous memory has no name to open: hand it over with send_handle, or inherit it")
        return cls._make(name, "open", None, mode, max_size, 0, wait, False, populate, follow_symlinks, any_owner)

    @classmethod
    def from_fd(cls, fd: int, *, mode: Mode = "rw", max_size: int | None = None) -> Self:
        """Map the memory or regular file behind a descriptor, such as one inherited from a C program.

        Args:
            fd: An open descriptor; it is duplicated, and stays yours to close.
            mode: ``"rw"`` needs one open for reading and writing.
            max_size: Bytes of address space to reserve.

        Returns:
            The region. Its ``name`` is ``None``; its ``path`` is where the file was found, if it has one.

        Raises:
            OSError: ``EBADF``: it is not open; ``ENODATA``: it is empty; ``ENODEV``, ``EISDIR``: it is no regular file
                or memfd.
            PermissionError: It is not open for writing, and ``mode`` is ``"rw"``.

        Example:
            >>> with Region(None, 64) as mine, Region.from_fd(mine.fileno()) as same:
            ...     mine[0] = 7
            ...     same[0]
            7
        """
        return cls._from_descriptor(fd, None, (mode, max_size))

    @classmethod
    def _from_descriptor(cls, fd: int, name: str | None, details: tuple[Mode, int | None]) -> Self:
        mode, max_size = details
        writable = opening.is_writable(mode)
        path = files.path_of(fd)
        region = Compiled.__new__(cls, path, "descriptor", None, max_size, writable, 0, False, False, False, True, fd)
        region._name = name
        return region

    @classmethod
    def _from_path(cls, path: str, name: str | None, details: tuple[Mode, int]) -> Self:
        mode, max_size = details
        region = cls.open(path, mode=mode, max_size=max_size, follow_symlinks=True, any_owner=True)
        region._name = name
        return region

    @classmethod
    def _make(
        cls,
        name: str | os.PathLike[str] | None,
        how: Literal["create", "open", "open-or-create", "anonymous"],
        size: int | None,
        mode: Mode,
        max_size: int | None,
        perm: int,
        wait: float | None,
        sparse: bool,
        populate: bool,
        follow_symlinks: bool,
        any_owner: bool,
    ) -> Self:
        writable = opening.is_writable(mode)
        opening.check_perm(perm)
        opening.check_wait(wait)
        if wait is not None and size is not None:
            raise ValueError("wait= is for a region that somebody else makes, size= for one to make here: give one")
        path = None if name is None else resolve(name, create=how != "open")

        region = opening.when_there(
            lambda: Compiled.__new__(
                cls, path, how, size, max_size, writable, perm, sparse, populate, follow_symlinks, any_owner, -1
            ),
            path,
            how != "open",
            wait,
        )
        region._name = None if name is None else os.fspath(name)
        return region

    @property
    def name(self) -> str | None:
        """The name it was opened by; ``None`` when it is anonymous or came as a descriptor."""
        return self._name

    def array(
        self,
        dtype: DTypeLike = "u1",
        shape: SupportsIndex | Iterable[SupportsIndex] | None = None,
        offset: int = 0,
    ) -> NDArray[Any]:
        """See bytes of the region as a numpy array, without a copy.

        Args:
            dtype: Any numpy dtype but objects; structured ones too. One with a shape of its own, such as
                ``"(2,3)f4"``, adds its axes after those of ``shape``.
            shape: Elements along each axis; ``None`` takes as many as fit, in one dimension.
            offset: Bytes before the first element.

        Returns:
            An array over the region's own memory, read-only when the region is. It stays valid for as long as it
            lives, also after the region is closed or grown.

        Raises:
            ModuleNotFoundError: numpy is not installed (``pip install samemap[numpy]``).
            TypeError: ``shape`` holds something else than integers.
            ValueError: It does not fit into the region, or the dtype holds Python objects.

        Example:
            >>> region = Region(None, 4096)
            >>> frame = region.array("f4", (2, 3))
            >>> frame[:] = 1.5
            >>> region.close()
            >>> float(frame.sum())
            9.0
        """
        return arrays.array_over(memoryview(self), dtype, shape, offset)

    def read_text(
        self, offset: int = 0, size: int | None = None, *, encoding: str = "utf-8", errors: str = "strict"
    ) -> str:
        r"""Read text that ends with a NUL, as C programs keep it.

        It reads until two readings in a row agree, because another process may be writing: raw memory can promise
        no more. Text of up to 7 bytes that `write_text` puts at a multiple of 8 is always whole.

        Args:
            offset: Where it starts, in bytes.
            size: Bytes that it may take, including the NUL; to the end of the region when ``None``.
            encoding: As in ``bytes.decode``.
            errors: As in ``bytes.decode``.

        Returns:
            The text before the first NUL, or all ``size`` bytes where there is none.

        Raises:
            IndexError: ``offset`` or ``size`` reaches outside the region.
            UnicodeDecodeError: The bytes are not text in that encoding.
            SegmentTruncated: Somebody truncated the file.

        Example:
            >>> region = Region(None, 64)
            >>> region[:9] = b"Hello\0old"
            >>> region.read_text()
            'Hello'
        """
        return self.read_cstring(offset, size).decode(encoding, errors)

    def write_text(self, text: str, offset: int = 0, size: int | None = None, *, encoding: str = "utf-8") -> int:
        """Write text and a NUL after it, as C programs expect it.

        Nobody is woken: `ring` does that.

        Args:
            text: The text, without NUL characters.
            offset: Where it starts, in bytes.
            size: Bytes that it may take, including the NUL; to the end of the region when ``None``.
            encoding: As in ``str.encode``.

        Returns:
            The number of bytes written, including the NUL.

        Raises:
            ValueError: The text holds a NUL, or does not fit; nothing was written.
            IndexError: ``offset`` or ``size`` reaches outside the region.
            TypeError: The region is read-only.
            SegmentTruncated: Somebody truncated the file.

        Example:
            >>> region = Region(None, 8)
            >>> region.write_text("World")
            6
            >>> region.write_text("much too long")
            Traceback (most recent call last):
            ValueError: ...
        """
        return self.write_cstring(text.encode(encoding), offset, size)

    def send_handle(self, sock: socket.socket) -> None:
        """Hand the region over to whoever is at the other end of a Unix socket.

        Args:
            sock: A connected ``AF_UNIX`` socket of any type.

        Raises:
            OSError: The socket is not connected, or cannot carry descriptors.
            ValueError: The region is closed.

        Example:
            >>> import socket
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs:
            ...     Region(None, 64).send_handle(ours)
            ...     Region.recv_handle(theirs).size
            64
        """
        handles.send(sock, self.fileno(), self.mode == "rw", self.max_size)

    @classmethod
    def recv_handle(cls, sock: socket.socket) -> Self:
        """Receive a region that `send_handle` sent, with the sender's mode and ``max_size``.

        Args:
            sock: A connected ``AF_UNIX`` socket; blocks as its timeout says.

        Returns:
            The region. It shares the sender's memory, and lives on when the sender is gone.

        Raises:
            EOFError: The other side closed the socket.
            ValueError: What came is not a region's handle.

        Example:
            >>> import socket
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs:
            ...     Region(None, 64).send_handle(ours)
            ...     Region.recv_handle(theirs).name is None
            True
        """
        fd, writable, max_size = handles.receive(sock)
        try:
            return cls._from_descriptor(fd, None, ("rw" if writable else "r", max_size))
        finally:
            os.close(fd)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file's name; the memory goes when its last holder is gone.

        Args:
            missing_ok: Say nothing when the file is gone, or the region never had one.

        Raises:
            FileNotFoundError: The name is gone, or another file has it now (that one is left alone).
            ValueError: The region is closed: its file can no longer be told from another of that name.

        Example:
            >>> region = Region.create("doc-unlink", 64)
            >>> region.unlink()
            >>> region.unlink(missing_ok=True)
        """
        files.remove_name(self.fileno(), self.path, missing_ok)

    def __iter__(self) -> Iterator[int]:
        """Yield the bytes one by one, as they are when their turn comes; also those that growth adds meanwhile."""
        index = 0
        while index < len(self):
            yield self[index]
            index += 1

    def __enter__(self) -> Self:
        # Raises when it is closed: a block around a closed region is a mistake, also where it never uses it.
        self.fileno()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        called = "anonymous" if self.name is None and self.path is None else repr(self.name or str(self.path))
        if self.closed:
            return f"<samemap.{type(self).__name__} {called} closed>"
        return f"<samemap.{type(self).__name__} {called} size={self.size} mode={self.mode!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process: by descriptor while it is being spawned, else by path, else by descriptor.

        The receiver gets the same memory, never a copy; so `copy.copy` and unpickling in the same process do too.
        Attributes of a subclass's instance travel with it.

        What travels by descriptor (memory without a name, in a queue or a pool) can be received once, and only
        while the sender runs: it hands the descriptor out. After that the receiver gets an ``OSError``
        (``ENODATA``) that says so.
        """
        return travel.reduce(self, (self.mode, self.max_size))

    def _descriptor(self) -> int:
        return self.fileno()
