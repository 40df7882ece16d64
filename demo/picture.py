"""Pictures made of characters: half blocks in colour, or shades of grey where there is none."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

#: So many samples per axis make a small picture smooth without touching every pixel of the large one.
SAMPLES = 4
#: From dark to light, on a dark terminal.
SHADES = " .:-=+*#%@"
MARGIN = "  "
#: Colours that differ by less look the same; fewer of them are quicker to show.
COARSE = 0b11111100


def fit(height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Return the largest height and width in half blocks that keep the shape within rows and columns."""
    scale = min(2 * rows / height, columns / width)
    return max(2, int(height * scale) // 2 * 2), max(1, int(width * scale))


def shrink(frame: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return a small copy of a frame."""
    ys = np.arange(height * SAMPLES) * frame.shape[0] // (height * SAMPLES)
    xs = np.arange(width * SAMPLES) * frame.shape[1] // (width * SAMPLES)
    samples = frame[ys[:, None], xs].reshape(height, SAMPLES, width, SAMPLES, 3)
    small: NDArray[Any] = samples.mean((1, 3)).astype("u1")
    return small


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
    grey = small.reshape(small.shape[0] // 2, 2, *small.shape[1:]).mean(1) @ (0.299, 0.587, 0.114)
    low, high = np.percentile(grey, (2, 98))
    levels = np.clip((grey - low) / max(high - low, 1) * len(SHADES), 0, len(SHADES) - 1).astype(int)
    return Text("\n".join((MARGIN + "".join(SHADES[level] for level in row)).rstrip() for row in levels), no_wrap=True)
