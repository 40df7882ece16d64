"""What options and arguments hold: sizes, durations, permissions, names of regions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar

import click
from click.shell_completion import CompletionItem

from ..names import runtime_directory

__all__ = [
    "DURATION",
    "NAME",
    "PERMISSION",
    "SIZE",
    "SIZE_CHANGE",
    "Duration",
    "Size",
    "SizeChange",
    "Trust",
    "opening",
]

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgt]?)(?P<unit>i?b)?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>us|ms|s|m|h|)", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}

Function = TypeVar("Function", bound=Callable[..., Any])

if TYPE_CHECKING:
    _IntType = click.ParamType[int]
    _FloatType = click.ParamType[float]
    _StrType = click.ParamType[str]
    _ChangeType = click.ParamType["SizeChange"]
else:
    # Generic in click's newest versions only.
    _IntType = _FloatType = _StrType = _ChangeType = click.ParamType


class Trust(TypedDict):
    """Which files are trusted enough to be opened; as for `Region`."""

    any_owner: bool
    follow_symlinks: bool


def parse_size(text: str) -> int:
    """Turn a size as people write it into bytes.

    Args:
        text: Digits, and a unit as in ``truncate(1)``: K, M, G, T and KiB, MiB, ... are powers of 1024; kB,
            MB, ... of 1000. Hexadecimal after ``0x``.

    Returns:
        The number of bytes.

    Raises:
        ValueError: It is no size, or no whole number of bytes.

    Example:
        >>> parse_size("64K"), parse_size("1MiB"), parse_size("2kB"), parse_size("0x1000")
        (65536, 1048576, 2000, 4096)
    """
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        return int(text, 16)
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write 4096, 64K, 1MiB or 0x1000")
    step = 1000 if match["prefix"] and (match["unit"] or "").lower() == "b" else 1024
    bytes_ = float(match["number"]) if "." in match["number"] else int(match["number"])
    bytes_ *= step ** " kmgt".index(match["prefix"].lower() or " ")
    if bytes_ != int(bytes_):
        raise ValueError(f"{text!r} is {bytes_} bytes, which is no whole number")
    if bytes_ >= 1 << 63:
        raise ValueError(f"{text!r} is more bytes than a file can have (2**63 - 1)")
    return int(bytes_)


class Size(_IntType):
    """Bytes.

    Args:
        minimum: The fewest that make sense.
    """

    name = "size"

    def __init__(self, minimum: int = 0) -> None:
        self.minimum = minimum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn ``4096``, ``64K``, ``1MiB`` into bytes."""
        if isinstance(value, int):
            return value
        try:
            size = parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size < self.minimum:
            self.fail(f"{value!r} is too small: at least {self.minimum}", param, ctx)
        return size


class SizeChange(NamedTuple):
    """A new size: ``amount`` bytes, or that many more (``sign`` 1) or fewer (-1) than now."""

    sign: int
    amount: int

    def apply(self, size: int) -> int:
        """Return the size that ``size`` becomes."""
        return size + self.sign * self.amount if self.sign else self.amount


class _SizeChange(_ChangeType):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SizeChange:
        if isinstance(value, SizeChange):
            return value
        sign = {"+": 1, "-": -1}.get(value[:1], 0)
        try:
            return SizeChange(sign, parse_size(value[1:] if sign else value))
        except ValueError as error:
            self.fail(f"{error}; +64K grows by that much, -4K shrinks", param, ctx)


class Duration(_FloatType):
    """A time span, in seconds.

    Args:
        minimum: The shortest that makes sense.
        endless: Whether ``inf`` does.
    """

    name = "duration"

    def __init__(self, minimum: float = 0.0, *, endless: bool = False) -> None:
        self.minimum = minimum
        self.endless = endless

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn ``1s``, ``500ms``, ``0.2``, ``2m`` into seconds."""
        if isinstance(value, float):
            return value
        if value == "inf" and self.endless:
            return math.inf
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no duration: write 1s, 500ms, 0.2 or 2m", param, ctx)
        seconds = float(match["number"]) * _SECONDS[match["unit"]]
        if seconds < self.minimum:
            self.fail(f"{value!r} is too short: at least {self.minimum:g} s", param, ctx)
        return seconds


class _Permission(_IntType):
    name = "octal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"0?[0-7]{3}", value):
            self.fail(f"{value!r} are no permission bits: write three octal digits, such as 660", param, ctx)
        return int(value, 8)


class _Name(_StrType):
    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if "/" in incomplete:
            return [CompletionItem(incomplete, type="file")]
        try:
            names = sorted(entry.name for entry in runtime_directory().iterdir() if entry.is_file())
        except OSError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


SIZE = Size()
SIZE_CHANGE = _SizeChange()
DURATION = Duration()
PERMISSION = _Permission()
NAME = _Name()


def opening(command: Function) -> Function:
    """Add the options that say which files are trusted enough to be opened."""
    for option in (
        click.option("--any-owner", is_flag=True, help="Accept a file of a user other than you and root."),
        click.option("--follow-symlinks", is_flag=True, help="Accept a symbolic link."),
    ):
        command = option(command)
    return command
