"""What replies to a call are made of: values, and between them failures and ends."""

from __future__ import annotations

from .encodings import Codec
from .failures import MARK

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Buffer

    from .encodings import Encoded

__all__ = ["END", "ERROR", "LAST", "PART", "Note", "ReplyCodec"]

#: What a reply is, as its flags say: one of the parts of a stream; the one value; an error; the end of a stream.
PART, LAST, ERROR, END = range(4)


class Note:
    """Bytes that go as they are, between values that a codec makes."""

    __slots__ = ("message",)

    def __init__(self, message: bytes) -> None:
        self.message = message


class ReplyCodec(Codec):
    """A codec whose messages may also be notes.

    Args:
        inner: What makes the values: arrays of one size, or what msgpack makes.
    """

    __slots__ = ("inner", "name", "size")

    def __init__(self, inner: Codec) -> None:
        self.inner = inner
        self.size = inner.size
        self.name = inner.name  # type: ignore[misc] # that of each, not of the class

    def schema(self) -> Mapping[str, object]:
        """Describe the values."""
        return self.inner.schema()

    def encode(self, value: Any) -> Encoded:
        """Return the bytes of a value, or of a note."""
        if type(value) is not Note:
            return self.inner.encode(value)
        message = value.message or MARK
        # What has the size of an array is one.
        return message + b" " if len(message) == self.size else message

    def decode(self, buffer: Buffer) -> Any:
        """Return the value, or the bytes of a note."""
        view = memoryview(buffer)
        if len(view) != self.size if self.size is not None else bytes(view[:1]) == MARK:
            return bytes(view)
        return self.inner.decode(buffer)
