"""Pictures made of characters, for rich: half blocks in colour, or shades of grey where there is none."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from samemap.cli import pictures
from samemap.cli.pictures import COARSE, fit, shrink

__all__ = ["HalfBlocks", "fit", "shades", "shrink"]

MARGIN = "  "


class HalfBlocks:
    """Shows two pixels per character: the upper half in the character's colour, the lower in the ground's.

    It makes rich's segments itself, because a `Text` of as many styles takes ten times as long.
    """

    def __init__(self, small: NDArray[Any]) -> None:
        self._small = small

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        colours = ((self._small & COARSE) @ (65536, 256, 1)).tolist()
        for upper, lower in zip(colours[::2], colours[1::2], strict=True):
            yield Segment(MARGIN)
            for colour, cells in itertools.groupby(zip(upper, lower, strict=True)):
                yield Segment("▀" * len(list(cells)), _style(*colour))
            yield Segment.line()


@functools.lru_cache(maxsize=1 << 16)
def _style(above: int, below: int) -> Style:
    return Style(color=_colour(above), bgcolor=_colour(below))


@functools.lru_cache(maxsize=1 << 16)
def _colour(value: int) -> Color:
    return Color.from_rgb(value >> 16, value >> 8 & 255, value & 255)


def shades(small: NDArray[Any]) -> Text:
    """Show brightness as characters that cover more or less of their cell."""
    return Text("\n".join((MARGIN + line).rstrip() for line in pictures.shades(small, stretch=True)), no_wrap=True)
