"""Pictures made of characters: half blocks in colour, or shades of grey where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

#: Averaging so many samples per axis makes a small picture smooth without touching every pixel of the large one.
SAMPLES = 4
#: From dark to light, on a dark terminal.
SHADES = " .:-=+*#%@"


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


def half_blocks(small: NDArray[Any]) -> Text:
    """Show two pixels per character: the upper half in the character's colour, the lower in the ground's."""
    text = Text(no_wrap=True)
    for upper, lower in zip(small[::2].tolist(), small[1::2].tolist(), strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    text.right_crop(1)
    return text


def shades(small: NDArray[Any]) -> Text:
    """Show brightness as characters that cover more or less of their cell."""
    grey = small.reshape(small.shape[0] // 2, 2, *small.shape[1:]).mean(1) @ (0.299, 0.587, 0.114)
    low, high = np.percentile(grey, (2, 98))
    levels = np.clip((grey - low) / max(high - low, 1) * len(SHADES), 0, len(SHADES) - 1).astype(int)
    return Text("\n".join("".join(SHADES[level] for level in row).rstrip() for row in levels), no_wrap=True)
