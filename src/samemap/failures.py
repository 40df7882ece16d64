"""Errors on their way from a handler to its caller: the error itself where it can travel, and always its text."""

from __future__ import annotations

import json
import pickle
import traceback

__all__ = ["RemoteError", "RemoteTraceback", "failure_of", "raised_by"]

#: What no message of msgpack begins with; it tells failures from messages where a codec makes those.
MARK = b"\xc1"
#: Characters of a text, where there is no room for all of it.
SHORT = 1000


class RemoteError(Exception):
    """The handler of a call raised what cannot travel; this has its text.

    Args:
        kind: The type of what was raised.
        text: What it says.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind = kind
        self.text = text

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind


class RemoteTraceback(Exception):
    """Where a handler raised an error: its cause, as the caller sees it.

    Args:
        text: The traceback in the server.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def failure_of(error: BaseException, short: bool = False) -> bytes:
    """Return an error as a message.

    Args:
        error: What was raised.
        short: Leave out all that may be long.

    Returns:
        A line of JSON, and the pickled error after it where it has one.

    Example:
        >>> raised_by(failure_of(KeyError("cat")), True)
        KeyError('cat')
        >>> raised_by(failure_of(KeyError("cat")), False)
        RemoteError('KeyError', "'cat'")
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    told = "" if short else "".join(traceback.format_exception(error))
    head = {"type": name, "text": text[:SHORT] if short else text, "traceback": told}
    pickled = b""
    # What ends a program, or a task, must not end the caller's.
    if isinstance(error, Exception) and not short:
        try:
            pickled = pickle.dumps(error, protocol=5)
        except Exception:
            # Whatever its class raises: its text is told.
            pickled = b""
    return MARK + json.dumps(head).encode() + b"\n" + pickled


def raised_by(message: bytes, trusted: bool) -> Exception:
    """Return the error that a message tells of, with its traceback as its cause.

    Args:
        message: What `failure_of` made.
        trusted: Whether it may be unpickled.
    """
    line, _, pickled = message.removeprefix(MARK).partition(b"\n")
    try:
        head = json.loads(line)
        kind, text, told = str(head["type"]), str(head["text"]), str(head["traceback"])
    except (KeyError, RecursionError, TypeError, ValueError):
        return RemoteError("an error", "that came damaged")
    error: object = None
    if trusted and pickled:
        try:
            error = pickle.loads(pickled)  # noqa: S301 - the caller trusts who can write to the file
        except Exception:
            # Its class is not here, or cannot be made again from what it pickles.
            error = None
    found = error if isinstance(error, Exception) else RemoteError(kind, text)
    if told:
        found.__cause__ = RemoteTraceback(told)
    return found
