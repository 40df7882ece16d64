"""What is typed in a shell, or comes from a file, as a message of a topic."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

from ..latest import Latest
from ..topics import Topic
from .display import cut
from .message_types import type_of

__all__ = ["Payloads"]

#: How numpy's own files begin.
NPY = b"\x93NUMPY"

#: So much of a text is shown that is no message.
LONGEST = 60


class Payloads:
    """Makes messages of text, for one topic or newest value; what cannot be one is refused in words.

    Args:
        channel: The topic or newest value.
        in_hex: Whether text for one of bytes is hexadecimal digits.

    Raises:
        ValueError: Its messages cannot be made of text.
    """

    def __init__(self, channel: Topic | Latest, in_hex: bool = False) -> None:
        self._channel = channel
        if in_hex and channel.codec != "bytes":
            raise ValueError(f"{channel.path}: --hex is for bytes, and its messages are of codec {channel.codec}")
        if channel.codec == "pickle":
            raise ValueError(f"{channel.path}: its messages are pickles, which only a program can make")
        self._in_hex = in_hex
        self._read = self._reader()

    def of_text(self, text: bytes) -> Any:
        """Return the message that a text means.

        Args:
            text: Text of the topic's kind: any, hexadecimal digits, or JSON.

        Raises:
            ValueError: It means none.
        """
        return self._checked(self._read, text, cut(repr(text.decode(errors="replace")), LONGEST))

    def of_file(self, data: bytes, called: str) -> Any:
        """Return the message that a file holds: its text, or its bytes as they are in memory.

        Args:
            data: All that it has.
            called: The file, for messages.

        Raises:
            ValueError: It holds none.
        """
        return self._checked(self._of_file, data, called)

    def _checked(self, read: Callable[[bytes], Any], data: bytes, called: str) -> Any:
        try:
            message = read(data)
            # Refused here, where it can be told what it was, and before anything is published.
            encoded = self._channel._codec.encode(message)
        except (TypeError, ValueError) as error:
            # What helps an array in a program is of no use in a shell.
            told = re.sub(r": (convert it|give it that shape) first, .*", "", str(error))
            raise ValueError(f"{self._channel.path}: {called} is no message there: {told}") from None
        most = self._channel.max_size if isinstance(self._channel, Latest) else self._channel.max_message
        size = memoryview(encoded).nbytes if isinstance(encoded, bytes | memoryview) else 0
        if size > most:
            raise ValueError(f"{self._channel.path}: {called} has {size} bytes, and a message there at most {most}")
        return message

    def _reader(self) -> Callable[[bytes], Any]:
        channel = self._channel
        if channel.codec == "bytes":
            return (lambda text: bytes.fromhex(text.decode())) if self._in_hex else bytes
        if channel.codec == "numpy":
            return lambda text: _array(_parsed(text), channel.dtype, channel.shape or ())
        import msgspec

        kind = type_of({key: channel._fields().get(key) for key in ("type", "types")})
        # As it was decoded: made of Python's own types, its bytes would become text.
        return lambda text: msgspec.json.decode(text, type=kind)

    def _of_file(self, data: bytes) -> Any:
        if self._channel.codec != "numpy":
            return self._read(data)
        import numpy as np

        if data.startswith(NPY):
            return np.load(io.BytesIO(data), allow_pickle=False)
        if len(data) == self._channel._codec.size:
            return self._channel._codec.decode(data)
        return self._read(data)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it has too many brackets within each other") from None
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None


def _array(value: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Return what numpy makes an array of; a single number, or a record as an object, fills all of it."""
    import numpy as np

    from ..fitting import fitted

    is_whole = isinstance(value, list) and bool(shape)
    found = _elements(value, dtype, len(shape) if is_whole else 0)
    return np.full(shape, fitted(found, dtype, ()), dtype) if shape and not is_whole else found


def _elements(value: Any, dtype: Any, axes: int) -> Any:
    """Return lists as they are, records as tuples, and text as what it stands for where JSON has only text for it."""
    names = dtype.names
    if isinstance(value, list) and (axes > 0 or names is None):
        return [_elements(each, dtype, axes - 1) for each in value]
    if names is not None and isinstance(value, dict):
        if unknown := sorted(value.keys() ^ set(names)):
            raise ValueError(f"a record has the fields {', '.join(names)}; what does not fit: {', '.join(unknown)}")
        value = [value[name] for name in names]
    if names is not None and isinstance(value, list):
        if len(value) != len(names):
            raise ValueError(f"a record has the fields {', '.join(names)}, and here are {len(value)}")
        fields = zip(value, (dtype[name] for name in names), strict=True)
        return tuple(_elements(each, field.base, len(field.shape)) for each, field in fields)
    if isinstance(value, str) and dtype.kind in "fcSV":
        # So `echo --json` writes them: numbers that JSON does not have, and bytes.
        return {"f": float, "c": complex}.get(dtype.kind, str.encode)(value)
    return value
