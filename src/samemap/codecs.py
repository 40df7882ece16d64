"""Which codec messages have: the one to `choose` for something new, or the one `recorded` in a file."""

from __future__ import annotations

from operator import index

from . import opening
from .encodings import BytesCodec, Codec, MsgspecCodec, NumpyCodec, PickleCodec
from .errors import SegmentMismatch

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, TypeAlias, TypedDict

    from numpy.typing import DTypeLike

    from .encodings import Shape

    CodecName: TypeAlias = Literal["bytes", "numpy", "msgspec", "pickle"]

    class Choice(TypedDict, total=False):
        """What a message is, as `choose` and `recorded` take it."""

        shape: Shape | None
        dtype: DTypeLike | None
        type: Any
        codec: CodecName | None


__all__ = [
    "DEFAULT_MAX_MESSAGE",
    "LONGEST_DESCRIPTION",
    "BytesCodec",
    "Codec",
    "MsgspecCodec",
    "NumpyCodec",
    "PickleCodec",
    "choose",
    "damaged",
    "read",
    "recorded",
    "way_of",
]

#: Bytes of a slot where messages are of different sizes and nobody says how large they get.
DEFAULT_MAX_MESSAGE = 64 << 10

#: Bytes that a message can have at most: some more, and no file could have a few of them.
MOST_BYTES = 2**60

#: Bytes that a codec's part of the schema may have; the file has room for 3968, and others write there, too.
LONGEST_DESCRIPTION = 3600

_NAMES = ("bytes", "numpy", "msgspec", "pickle")


def choose(
    *,
    shape: Shape | None = None,
    dtype: DTypeLike | None = None,
    type: Any = None,  # noqa: A002 - what users call it
    codec: CodecName | None = None,
    max_message: int | None = None,
    default: Literal["bytes", "pickle"] = "bytes",
    option: str = "max_message",
) -> tuple[Codec, int]:
    """Choose the codec of something new.

    Args:
        shape: Messages are arrays of this shape; of ``float64`` if there is no ``dtype``, as elsewhere in numpy.
        dtype: Messages are arrays of this dtype; single elements if there is no ``shape``.
        type: Messages are objects of this type.
        codec: ``"pickle"`` for any object; ``"msgspec"`` for what msgspec knows, without a type; others go with the
            above by themselves.
        max_message: Bytes of the largest message, where they differ; 64 KiB if it is not given.
        default: What messages are with nothing at all of the above.
        option: What users call that.

    Returns:
        The codec, and the bytes that a slot needs.

    Raises:
        ModuleNotFoundError: What it needs is not installed.
        TypeError: An argument is of the wrong kind.
        ValueError: They make no sense together, or what they say is too long for the file.

    Example:
        >>> codec, room = choose(shape=(480, 640), dtype="u1")
        >>> codec.name, room
        ('numpy', 307200)
        >>> choose(shape=3, codec="pickle")
        Traceback (most recent call last):
        ValueError: shape= makes no sense with codec='pickle': ...
    """
    name = _wanted(shape, dtype, type, codec) or default
    if name == "numpy":
        if shape is None and dtype is None:
            raise ValueError("codec='numpy' makes no sense alone: say shape= and dtype=")
        if max_message is not None:
            raise ValueError(
                f"{option}={max_message} makes no sense with {_named(shape=shape, dtype=dtype)}: "
                "all these messages have the same size"
            )
        arrays = NumpyCodec(() if shape is None else shape, dtype)
        return _short_enough(arrays), arrays.size
    room = DEFAULT_MAX_MESSAGE if max_message is None else index(max_message)
    if room < 1 or max_message is True:
        raise ValueError(f"{option}={max_message} leaves no room for a message: at least 1 byte")
    opening.check_number(option, room, 1, MOST_BYTES)
    if name == "msgspec":
        return _short_enough(MsgspecCodec(type)), room
    return PickleCodec() if name == "pickle" else BytesCodec(), room


def read(schema: str) -> dict[str, object]:
    """Read a segment's schema.

    Args:
        schema: Its text.

    Returns:
        What it says, for `recorded`.

    Raises:
        SegmentMismatch: It is no JSON object.

    Example:
        >>> read('{"codec": "bytes"}')
        {'codec': 'bytes'}
    """
    import json

    try:
        found = json.loads(schema)
    # RecursionError: thousands of brackets, which only damage brings about.
    except (RecursionError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise SegmentMismatch(f"a schema is a JSON object, and this one is not: {schema!r}")
    return found


def recorded(
    schema: Mapping[str, object],
    called: str,
    *,
    shape: Shape | None = None,
    dtype: DTypeLike | None = None,
    type: Any = None,  # noqa: A002 - what users call it
    codec: CodecName | None = None,
    trusted: bool = False,
) -> Codec:
    """Make the codec of something that exists, as its file describes it.

    Args:
        schema: What the file says: what `Codec.schema` returned, and whatever else; nothing in it is trusted.
        called: The thing, for messages.
        shape: The shape that the caller insists on; ``None`` takes it as it is, as for the others.
        dtype: The dtype.
        type: The type. Without it, objects come back as dictionaries, lists, numbers and text.
        codec: The codec. ``"pickle"`` must be asked for, because it can run any program.
        trusted: Whether all who can write to the file are trusted, so that pickles need not be asked for.

    Returns:
        The codec.

    Raises:
        ModuleNotFoundError: What it needs is not installed.
        SegmentMismatch: It is not what the caller insists on, or not what this version knows; a ``ValueError``.
        TypeError: An argument is of the wrong kind.
        ValueError: The arguments make no sense together.

    Example:
        >>> schema = NumpyCodec((480, 640), "f4").schema()
        >>> recorded(schema, "Topic 'cam'").size
        1228800
        >>> recorded(schema, "Topic 'cam'", shape=(480, 640), dtype="f8")
        Traceback (most recent call last):
        samemap.errors.SegmentMismatch: Topic 'cam' disagrees with what was asked for:
          dtype: float32 in the file, float64 asked for
        open it without shape= and dtype= to take it as it is, or give yours another name
    """
    name = schema.get("codec")
    if name not in _NAMES:
        raise SegmentMismatch(
            f"{called} has messages of codec {name!r}, and this version of samemap knows {', '.join(_NAMES)}: "
            "open it with the version that made it"
        )
    wanted = _wanted(shape, dtype, type, codec)
    if name == "pickle" and wanted is None and not trusted:
        raise SegmentMismatch(
            f"{called} has messages that are pickles, and unpickling can run any program: if you trust all who can "
            "write to it, open it with codec='pickle'"
        )
    found = _rebuilt(schema, called, type)
    if wanted is None:
        return found
    if wanted != name:
        lines = [f"codec: {_told(found)} in the file, {wanted} asked for"]
    elif isinstance(found, NumpyCodec):
        lines = _array_differences(found, shape, dtype)
    elif isinstance(found, MsgspecCodec) and type is not None:
        asked = MsgspecCodec(type)
        lines = found.differences(asked)
        found = asked
    else:
        lines = []
    if lines:
        options = _named(shape=shape, dtype=dtype, type=type, codec=codec)
        must_ask = name == "pickle" and not trusted
        cure = "open it with codec='pickle'" if must_ask else f"open it without {options} to take it as it is"
        raise SegmentMismatch(
            "\n".join(
                [
                    f"{called} disagrees with what was asked for:",
                    *(f"  {line}" for line in lines),
                    f"{cure}, or give yours another name",
                ]
            )
        )
    return found


def _wanted(shape: object, dtype: object, type: object, codec: str | None) -> str | None:  # noqa: A002 - as above
    """Return which codec the arguments speak of; ``None`` when there are none."""
    if codec is not None and codec not in _NAMES:
        raise ValueError(f"codec={codec!r} is none of {', '.join(map(repr, _NAMES))}")
    arrays = _named(shape=shape, dtype=dtype)
    if arrays and type is not None:
        raise ValueError(f"{arrays} makes no sense with type=: messages are either arrays or objects of a type")
    if arrays and codec not in (None, "numpy"):
        raise ValueError(f"{arrays} makes no sense with codec={codec!r}: leave out the one or the other")
    if type is not None and codec not in (None, "msgspec"):
        raise ValueError(f"type= makes no sense with codec={codec!r}: leave out the one or the other")
    return codec or ("numpy" if arrays else None if type is None else "msgspec")


def _named(**options: object) -> str:
    """Return the names of the options that were given, as a caller writes them."""
    return " and ".join(f"{name}=" for name, value in options.items() if value is not None)


def _rebuilt(schema: Mapping[str, object], called: str, type: object) -> Codec:  # noqa: A002 - as above
    """Make the codec that a file describes; not of arguments, whose errors are others."""
    name = schema["codec"]
    if name == "bytes":
        return BytesCodec()
    if name == "pickle":
        return PickleCodec()
    try:
        if name == "numpy":
            from . import dtypes

            return NumpyCodec(schema["shape"], dtypes.rebuild(schema["dtype"]))  # type: ignore[arg-type] # see below
        return MsgspecCodec(described=schema)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise SegmentMismatch(f"{called} has a damaged description of its messages: {error!r}") from None


def _array_differences(found: NumpyCodec, shape: Shape | None, dtype: DTypeLike | None) -> list[str]:
    from . import dtypes

    lines = []
    # A dtype that is itself an array insists on a shape, too.
    asked = NumpyCodec(() if shape is None else shape, found.dtype if dtype is None else dtype)
    if dtype is not None:
        lines += dtypes.differences(found.dtype, asked.dtype)
    if (shape is not None or asked.shape) and found.shape != asked.shape:
        lines.append(f"shape: {found.shape} in the file, {asked.shape} asked for")
    return lines


def _told(codec: Codec) -> str:
    if isinstance(codec, NumpyCodec):
        return f"numpy (shape {codec.shape}, dtype {codec.dtype})"
    return f"msgspec (type {codec.type_name})" if isinstance(codec, MsgspecCodec) else codec.name


def _short_enough(codec: Codec) -> Codec:
    import json

    length = len(json.dumps(codec.schema()))
    if length > LONGEST_DESCRIPTION:
        raise ValueError(
            f"the description of these messages has {length} bytes, and a file has room for {LONGEST_DESCRIPTION}: "
            "have fewer fields or shorter names, or send the objects with codec='pickle'"
        )
    return codec


def damaged(called: str, size: int, room: int) -> SegmentMismatch:
    """Return the error for a file whose messages cannot be in its slots.

    Args:
        called: The thing, for the message.
        size: Bytes of every message, as its schema has it.
        room: Bytes of its slots.
    """
    return SegmentMismatch(
        f"{called} has a damaged schema: its messages have {size} bytes, and its slots {room}: "
        "remove it (samemap rm) and make it anew"
    )


def way_of(codec: Codec) -> Literal["bytes", "pickle", "codec"]:
    """Return how the compiled half of a queue or a service makes messages of a codec: two of them it knows itself."""
    known: dict[str, Literal["bytes", "pickle"]] = {"bytes": "bytes", "pickle": "pickle"}
    return known.get(codec.name, "codec")
