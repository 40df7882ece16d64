"""Arrays as pictures: their pixels as bytes, and small ones drawn with characters. Imported where it is used: numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COARSE", "fit", "half_blocks", "pixels", "save", "shades", "shrink"]

#: So many samples per axis make a small picture smooth without touching every pixel of the large one.
SAMPLES = 4

#: From dark to light, on a dark terminal.
SHADES = " .:-=+*#%@"

#: What the eye makes of red, green and blue: ITU-R BT.601.
LUMA = (0.299, 0.587, 0.114)

#: Colours that differ by less look the same; fewer of them are quicker to show.
COARSE = 0b11111100


def pixels(frame: NDArray[Any], limits: tuple[float, float] | None, bgr: bool) -> NDArray[np.uint8]:
    """Return a frame as bytes of grey, of red, green, blue, or of these and opacity.

    Args:
        frame: Numbers, of height x width, or height x width x 1, 3 or 4.
        limits: What is black and what is white; ``None`` for the least and the greatest, and for bytes as they are.
        bgr: Whether its colours are the other way round.

    Returns:
        Bytes, of height x width, or height x width x 3 or 4.

    Raises:
        ValueError: It is no picture.

    Example:
        >>> pixels(np.array([[0.5, 1.0], [1.5, np.nan]]), None, bgr=False).tolist()
        [[0, 127], [255, 0]]
    """
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    if frame.dtype.kind not in "buif" or not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in (3, 4))):
        raise ValueError(
            f"a message of shape {frame.shape} and dtype {frame.dtype} is no picture: "
            "that is (height, width), or (height, width, 1, 3 or 4), of numbers; 'samemap echo' shows it"
        )
    if bgr and frame.ndim == 3:
        frame = frame[:, :, [2, 1, 0, *range(3, frame.shape[2])]]
    if frame.dtype == np.uint8 and limits is None:
        return np.ascontiguousarray(frame)
    if frame.ndim == 3 and frame.shape[2] == 4:
        # How opaque it is has a range of its own.
        opacity = frame[:, :, 3:]
        most = np.iinfo(frame.dtype).max if frame.dtype.kind in "ui" else 1.0
        return np.concatenate([_scaled(frame[:, :, :3], limits), _scaled(opacity, (0.0, float(most)))], 2)
    return _scaled(frame, limits)


def _scaled(frame: NDArray[Any], limits: tuple[float, float] | None) -> NDArray[np.uint8]:
    numbers = frame.astype("f8")
    # What is not a number is black; infinity is black or white, and says nothing of the others.
    finite = numbers[np.isfinite(numbers)]
    low, high = limits or ((float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0))
    clipped = np.clip(np.nan_to_num(numbers, nan=low, posinf=high, neginf=low), low, high)
    scaled: NDArray[np.uint8] = ((clipped - low) / ((high - low) or 1) * 255).astype(np.uint8)
    return scaled


def save(picture: NDArray[np.uint8], path: str) -> None:
    """Write a picture to a file, in the format that its name ends with.

    Args:
        picture: What `pixels` returned.
        path: The file.

    Raises:
        OSError: It cannot be written.
        ValueError: Pillow is not installed, or knows no such format, or it has no such colours.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ValueError("writing pictures needs Pillow: pip install 'samemap[pictures]'") from None
    try:
        Image.fromarray(picture).save(path)
    except (KeyError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path}: {error}; a name that ends with .png will do") from None


def fit(height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Return the largest height and width in half blocks that keep the shape within rows and columns.

    Example:
        >>> fit(1080, 1920, 24, 80)
        (44, 80)
    """
    scale = min(2 * rows / height, columns / width)
    return max(2, int(height * scale) // 2 * 2), max(1, int(width * scale))


def shrink(frame: NDArray[Any], height: int, width: int) -> NDArray[np.uint8]:
    """Return a small copy of a frame, as red, green and blue.

    Args:
        frame: Bytes, as `pixels` returns them.
        height: Its rows of pixels.
        width: Its columns.

    Example:
        >>> shrink(np.full((480, 640), 7, "u1"), 2, 3).shape
        (2, 3, 3)
    """
    ys = np.arange(height * SAMPLES) * frame.shape[0] // (height * SAMPLES)
    xs = np.arange(width * SAMPLES) * frame.shape[1] // (width * SAMPLES)
    samples = frame[ys[:, None], xs]
    if frame.ndim == 2:
        samples = np.repeat(samples[:, :, None], 3, 2)
    elif frame.shape[2] == 4:
        # On black, as a terminal is.
        samples = samples[:, :, :3] * (samples[:, :, 3:] / 255)
    small: NDArray[np.uint8] = samples.reshape(height, SAMPLES, width, SAMPLES, 3).mean((1, 3)).astype(np.uint8)
    return small


def shades(small: NDArray[np.uint8], stretch: bool = False) -> list[str]:
    """Show brightness as characters that cover more or less of their cell.

    Args:
        small: What `shrink` returned, of an even height.
        stretch: Give the darkest the emptiest character, and the brightest the fullest.

    Returns:
        A line for each two rows of pixels.

    Example:
        >>> shades(np.array([[[0] * 3, [128] * 3, [255] * 3]] * 2, "u1"))
        [' =@']
    """
    grey = small.reshape(small.shape[0] // 2, 2, *small.shape[1:]).mean(1) @ LUMA
    low, high = np.percentile(grey, (2, 98)) if stretch else (0, 256)
    levels = np.clip((grey - low) / max(high - low, 1) * len(SHADES), 0, len(SHADES) - 1).astype(int)
    return ["".join(SHADES[level] for level in row).rstrip() for row in levels]


def half_blocks(small: NDArray[np.uint8]) -> list[str]:
    """Show two pixels per character: the upper one in the character's colour, the lower one in the ground's.

    Args:
        small: What `shrink` returned, of an even height.

    Returns:
        A line for each two rows of pixels, with escape sequences of 24-bit colour.
    """
    lines = []
    for upper, lower in zip((small[::2] & COARSE).tolist(), (small[1::2] & COARSE).tolist(), strict=True):
        parts = []
        # A sequence for each run of the same: a terminal has little time for each.
        for (above, below), cells in itertools.groupby(zip(map(tuple, upper), map(tuple, lower), strict=True)):
            colours = f"38;2;{above[0]};{above[1]};{above[2]};48;2;{below[0]};{below[1]};{below[2]}"
            parts.append(f"\x1b[{colours}m{'▀' * len(list(cells))}")
        lines.append("".join(parts) + "\x1b[0m")
    return lines
