"""How a Python object becomes the bytes of a message, and comes back: one class for each way."""

from __future__ import annotations

from ._core import Blank, Pin

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, ClassVar, SupportsIndex, TypeAlias

    import numpy as np
    from numpy.typing import DTypeLike, NDArray
    from typing_extensions import Buffer

    from .typeinfo import Described

    Shape: TypeAlias = SupportsIndex | Iterable[SupportsIndex]
    #: numpy's own types say that arrays are buffers only where Python itself knows what a buffer is, from 3.12.
    Encoded: TypeAlias = Buffer | NDArray[Any] | tuple[Buffer, ...]

__all__ = ["BytesCodec", "Codec", "MsgspecCodec", "NumpyCodec", "PickleCodec"]


#: What has its bytes at the same place for as long as it lives, so that an array needs no more than to keep it. Of
#: anything else a buffer must stay exported, which ndarray() does not see to, and frombuffer() does.
_LASTING = frozenset({bytes, Pin, Blank})


class Codec:
    """How objects become bytes and come back; the classes below say how, each in its own way.

    Attributes:
        name: ``"bytes"``, ``"numpy"``, ``"msgspec"`` or ``"pickle"``.
        size: Bytes of every message; ``None`` when that differs.
    """

    __slots__ = ()
    name: ClassVar[str]
    size: int | None = None

    def schema(self) -> Mapping[str, object]:
        """Describe it for the file, with nothing but what JSON has, so that `recorded` can make it again."""
        return {"codec": self.name}

    def encode(self, value: Any) -> Encoded:
        """Return the bytes of a message: in one piece, or in parts that follow one another.

        They may be the value's own bytes, so the value must not change until they are used.

        Args:
            value: What to send.

        Raises:
            TypeError: It is nothing that messages here are made of.
            ValueError: It is, and yet does not fit.
        """
        raise NotImplementedError

    def decode(self, buffer: Buffer) -> Any:
        """Return the object that a message holds.

        Args:
            buffer: The message, no byte more. What comes back may keep it exported, and is read-only then.

        Raises:
            ValueError: These bytes are no such message.
        """
        raise NotImplementedError

    def array(self, buffer: Buffer) -> NDArray[Any]:
        """Return a message as a read-only array over its bytes, which stay exported as long as any view lives.

        Args:
            buffer: The message.

        Raises:
            TypeError: Messages here are no arrays.
            ValueError: These bytes are no such message.
        """
        raise TypeError(f"a message of codec {self.name!r} is no array: take its value")

    def frame(self, buffer: Buffer) -> Any:
        """Return what to write a message into, over these bytes.

        Args:
            buffer: Writable bytes of a slot.
        """
        return _flat(buffer)

    def seal(self, frame: Any) -> None:
        """Keep what `frame` returned from being written to, now that others read the message.

        Args:
            frame: What `frame` returned. Views that were made of it are not found.
        """
        try:
            # Nothing makes a memoryview read-only, but this makes it useless.
            frame.release()
        except BufferError:
            # Something has a view of it.
            return


class BytesCodec(Codec):
    """Bytes as they are.

    Example:
        >>> codec = BytesCodec()
        >>> codec.decode(codec.encode(bytearray(b"four")))
        b'four'
        >>> codec.encode("four")
        Traceback (most recent call last):
        TypeError: a message is bytes, and 'four' is text: send it as 'four'.encode()
    """

    __slots__ = ()
    name = "bytes"

    def encode(self, value: Any) -> Buffer:
        """Return the object's own bytes, or a copy of them where they are not in one piece."""
        if type(value) is bytes:
            return value
        if isinstance(value, str):
            raise TypeError(f"a message is bytes, and {_short(value)} is text: send it as {_short(value)}.encode()")
        try:
            view = memoryview(value)
        except TypeError:
            raise TypeError(
                f"a message is bytes, or anything with the buffer protocol, and {_short(value)} "
                f"is a {type(value).__name__}: to send objects, say of what type= they are, or codec='pickle'"
            ) from None
        # Also what is in the order of Fortran is copied, into the order of C.
        return view if view.c_contiguous else view.tobytes()

    def decode(self, buffer: Buffer) -> bytes:
        """Return a copy of the bytes."""
        return bytes(buffer)

    def array(self, buffer: Buffer) -> NDArray[Any]:
        """Return an array over the bytes.

        Example:
            >>> BytesCodec().array(b"four")
            array([102, 111, 117, 114], dtype=uint8)
        """
        numpy = _numpy("arrays over messages")
        view = _flat(buffer).toreadonly()
        # It refuses buffers of no bytes.
        found: NDArray[Any] = numpy.frombuffer(view, numpy.uint8) if view else numpy.ndarray((0,), numpy.uint8, b"")
        return found


class NumpyCodec(Codec):
    """Arrays of one shape and dtype; each message is the bytes of one, in the order of C.

    Args:
        shape: Elements along each axis; ``()`` is a single element, or a record.
        dtype: What one element is. One that is itself an array adds axes.

    Raises:
        ModuleNotFoundError: numpy is not installed.
        TypeError: ``shape`` is no shape, or ``dtype`` no dtype.
        ValueError: There are no bytes in it, or such as mean nothing to other processes.

    Attributes:
        shape: The shape of every array.
        dtype: Their dtype.
        size: Their bytes.

    Example:
        >>> import numpy as np
        >>> codec = NumpyCodec((2, 3), "u1")
        >>> codec.size, codec.decode(codec.encode(np.eye(2, 3, dtype="u1")))
        (6, array([[1, 0, 0],
                   [0, 1, 0]], dtype=uint8))
        >>> codec.encode(np.zeros((3, 2), "u1"))
        Traceback (most recent call last):
        ValueError: a message has shape (2, 3) and dtype uint8, and this has shape (3, 2) and dtype uint8: ...
    """

    __slots__ = ("_exported", "_fitted", "_fitted_many", "_frombuffer", "_ndarray", "dtype", "shape", "size")
    name = "numpy"

    def __init__(self, shape: Shape, dtype: DTypeLike | None) -> None:
        numpy = _numpy("messages with shape= or dtype=")
        from . import arrays, dtypes, fitting

        kind: np.dtype[Any] = numpy.dtype(dtype)
        self.shape: tuple[int, ...] = (*arrays._dimensions(shape), *kind.shape)
        dtypes.refuse_unshareable(kind.base)
        # Made from its own description, so that it is what others will read, to the letter.
        self.dtype: np.dtype[Any] = dtypes.rebuild(dtypes.describe(kind.base))
        if any(n < 1 for n in self.shape):
            raise ValueError(f"shape {self.shape} has no elements, so that there is nothing to send")
        element = numpy.empty((), self.dtype)
        # Takes no memory, and raises where numpy has no such arrays: of too many axes, or too large.
        self.size: int = numpy.broadcast_to(element, self.shape).nbytes
        self._ndarray: Any = numpy.ndarray
        self._frombuffer: Any = numpy.frombuffer
        self._fitted = fitting.fitted
        self._fitted_many = fitting.fitted_many
        # numpy does not export all dtypes, dates for one; but it does anonymous bytes of the same number.
        try:
            memoryview(element)
            self._exported = None
        except ValueError:
            self._exported = numpy.dtype((numpy.void, self.dtype.itemsize))

    def schema(self) -> Mapping[str, object]:
        """Describe shape and dtype.

        Example:
            >>> NumpyCodec((), [("x", "f4"), ("y", "f4")]).schema()["dtype"]
            {'fields': [['x', '<f4', 0], ['y', '<f4', 4]], 'size': 8}
        """
        from . import dtypes

        return {"codec": self.name, "shape": list(self.shape), "dtype": dtypes.describe(self.dtype)}

    def encode(self, value: Any) -> NDArray[Any]:
        """Return the array itself, if it is one of that kind; else one that is made of it, if that loses nothing."""
        if not (
            type(value) is self._ndarray
            and (value.dtype is self.dtype or value.dtype == self.dtype)
            and value.shape == self.shape
            and value.flags.c_contiguous
        ):
            value = self._fitted(value, self.dtype, self.shape)
        found: NDArray[Any] = value if self._exported is None else value.view(self._exported)
        return found

    def encode_many(self, values: Any) -> tuple[NDArray[Any], int]:
        r"""Return the bytes of several messages, one after the other, and how many they are.

        Args:
            values: An array with an axis more, the first; or a list of what `encode` takes.

        Raises:
            TypeError: As from `encode`.
            ValueError: As from `encode`.

        Example:
            >>> many, n = NumpyCodec(2, "u1").encode_many([(1, 2), (3, 4), (5, 6)])
            >>> bytes(many), n
            (b'\x01\x02\x03\x04\x05\x06', 3)
        """
        if not (
            type(values) is self._ndarray
            and (values.dtype is self.dtype or values.dtype == self.dtype)
            and values.ndim > len(self.shape)
            and values.shape[1:] == self.shape
            and values.flags.c_contiguous
        ):
            values = self._fitted_many(values, self.dtype, self.shape)
        return (values if self._exported is None else values.view(self._exported)), values.shape[0]

    def empty(self, n: int) -> NDArray[Any]:
        """Return an array for several messages, whose bytes are still to be filled in.

        Args:
            n: How many messages.

        Example:
            >>> NumpyCodec((2, 3), "u1").empty(5).shape
            (5, 2, 3)
        """
        found: NDArray[Any] = self._ndarray((n, *self.shape), self.dtype)
        return found

    def decode(self, buffer: Buffer) -> Any:
        """Return a message as `array` does; where there is one element only, that."""
        found = self.array(buffer)
        return found if self.shape else found[()]

    def array(self, buffer: Buffer) -> NDArray[Any]:
        """Return a read-only array over the bytes.

        Example:
            >>> array = NumpyCodec((2, 2), "u1").array(b"four")
            >>> array.tolist(), array.flags.writeable
            ([[102, 111], [117, 114]], False)
        """
        found: NDArray[Any]
        if type(buffer) in _LASTING:
            if len(buffer) != self.size:  # type: ignore[arg-type] # these have a length
                raise self._wrong_length(len(buffer))  # type: ignore[arg-type] # as above
            found = self._ndarray(self.shape, self.dtype, buffer)
            return found
        view = memoryview(buffer).toreadonly()
        if view.nbytes != self.size:
            raise self._wrong_length(view.nbytes)
        found = self._frombuffer(view, self.dtype).reshape(self.shape)
        return found

    def _wrong_length(self, length: int) -> ValueError:
        return ValueError(f"a message of shape {self.shape} and dtype {self.dtype} has {self.size} bytes, not {length}")

    def frame(self, buffer: Buffer) -> NDArray[Any]:
        r"""Return a writable array over the bytes.

        Example:
            >>> slot = bytearray(4)
            >>> NumpyCodec((2, 2), "u1").frame(slot)[1] = 7
            >>> slot
            bytearray(b'\x00\x00\x07\x07')
        """
        found: NDArray[Any]
        if type(buffer) in _LASTING:
            found = self._ndarray(self.shape, self.dtype, buffer)
        else:
            found = self._frombuffer(buffer, self.dtype, self.size // self.dtype.itemsize).reshape(self.shape)
        return found

    def seal(self, frame: NDArray[Any]) -> None:
        """Make a frame read-only."""
        frame.flags.writeable = False


class MsgspecCodec(Codec):
    """Objects of a type, as MessagePack.

    Args:
        wanted: The type: a ``msgspec.Struct``, a dataclass, a ``TypedDict``, a ``NamedTuple``, or of Python's own.
            ``None`` sends what msgspec has bytes for, and brings back dictionaries, lists, numbers and text.
        described: The description from the file, where the type itself is not known.

    Raises:
        ModuleNotFoundError: msgspec is not installed.
        TypeError: msgspec has no bytes for such a type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Pose:
        ...     x: float
        ...     y: float
        >>> codec = MsgspecCodec(Pose)
        >>> codec.decode(codec.encode(Pose(1, 2)))
        Pose(x=1.0, y=2.0)
        >>> codec.encode("here")
        Traceback (most recent call last):
        TypeError: a message is a Pose, and 'here' is a str: ...
    """

    __slots__ = ("_classes", "_decode", "_described", "_encode", "_error")
    name = "msgspec"

    def __init__(self, wanted: Any = None, described: Mapping[str, object] | None = None) -> None:
        try:
            import msgspec.msgpack
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "messages with type= need msgspec: pip install 'samemap[typed]'", name=error.name
            ) from None
        from . import typeinfo

        self._described: Described
        if wanted is None:
            self._described = typeinfo.checked({"type": "Any", "types": {}} if described is None else described)
            self._classes = None
        else:
            self._described = typeinfo.describe(wanted)
            self._classes = typeinfo.classes_of(wanted)
        self._encode = msgspec.msgpack.Encoder().encode
        decoder: msgspec.msgpack.Decoder[Any] = (
            msgspec.msgpack.Decoder() if wanted is None else msgspec.msgpack.Decoder(wanted)
        )
        self._decode = decoder.decode
        self._error = msgspec.DecodeError

    @property
    def type_name(self) -> str:
        """What people call the type."""
        return str(self._described["type"])

    def differences(self, asked: MsgspecCodec) -> list[str]:
        """Tell where the types of this one, which is in a file, and of another one differ.

        Args:
            asked: The one that the caller insists on.
        """
        from . import typeinfo

        return typeinfo.differences(self._described, asked._described)

    def schema(self) -> Mapping[str, object]:
        """Describe the type, field by field.

        Example:
            >>> MsgspecCodec(dict[str, int]).schema()
            {'codec': 'msgspec', 'type': 'dict[str, int]', 'types': {}}
        """
        return {"codec": self.name, **self._described}

    def encode(self, value: Any) -> bytes:
        """Return the MessagePack of an object. What is in it is looked at by whoever reads it, as msgspec does."""
        if self._classes is not None and not isinstance(value, self._classes):
            raise TypeError(
                f"a message is a {self.type_name}, and {_short(value)} is a {type(value).__name__}: "
                f"make it one, as with msgspec.convert(value, {self.type_name})"
            )
        try:
            return self._encode(value)
        except TypeError as error:
            raise TypeError(
                f"{_short(value)} cannot be sent as {self.type_name}: {error}; "
                "make it of Python's own types, or send any object with codec='pickle'"
            ) from None

    def decode(self, buffer: Buffer) -> Any:
        """Return the object. Fields of type ``memoryview`` and ``msgspec.Raw`` are parts of the message itself."""
        try:
            return self._decode(buffer)
        except (ValueError, self._error) as error:
            # Before 0.22, msgspec's own errors are no ValueErrors.
            kind = type(error) if isinstance(error, self._error) and isinstance(error, ValueError) else ValueError
            raise kind(f"a message is no {self.type_name}: {error}") from error


class PickleCodec(Codec):
    """Any object that can be pickled; arrays in it are not copied into the pickle, nor out of the message.

    Unpickling can run any program, so whoever reads must trust all who can write.

    Example:
        >>> import numpy as np
        >>> codec = PickleCodec()
        >>> message = b"".join(codec.encode({"id": 7, "image": np.arange(3)}))
        >>> found = codec.decode(message)
        >>> found, found["image"].flags.writeable
        ({'id': 7, 'image': array([0, 1, 2])}, False)
    """

    __slots__ = ("_parts_of", "_restored")
    name = "pickle"

    def __init__(self) -> None:
        from . import pickles

        self._parts_of = pickles.parts_of
        self._restored = pickles.restored

    def encode(self, value: Any) -> tuple[Buffer, ...]:
        """Return the parts of a message, as `samemap.pickles` lays it out. What `pickle` raises comes unchanged."""
        return self._parts_of(value)

    def decode(self, buffer: Buffer) -> Any:
        """Return the object; what it has of arrays is read-only, over the message."""
        return self._restored(buffer)


def _flat(buffer: Buffer) -> memoryview:
    view = memoryview(buffer)
    return view if view.ndim == 1 and view.format == "B" else view.cast("B")


def _numpy(what: str) -> Any:
    try:
        import numpy as np
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{what} need numpy: pip install 'samemap[numpy]'", name=error.name) from None
    return np


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
