"""``samemap view``: a frame of a topic as a picture, in a file or in the terminal."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from typing import Any

import click

from ..latest import Latest
from .feeds import Feed, follow, open_channel
from .parameters import NAME, Duration, Trust, opening
from .screen import Screen

__all__ = ["view"]

EXAMPLES = """\b
Examples:
  samemap view camera                      the newest frame, in the terminal
  samemap view camera --follow             and each that comes
  samemap view camera -o frame.png         in a file
  samemap view depth --range 0 5000        numbers that are no bytes
"""

#: From dark to light, on a dark terminal.
SHADES = " .:-=+*#%@"


@click.command(epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write a picture (.png) instead.")
@click.option("--follow", "follows", is_flag=True, help="Go on with each newest frame, until Ctrl-C.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1),
    default=15.0,
    show_default=True,
    help="With --follow: so many a second at most.",
)
@click.option(
    "--range",
    "limits",
    type=(float, float),
    metavar="LOW HIGH",
    help="What is black, and what is white.  [default: what the frame has]",
)
@click.option("--bgr", is_flag=True, help="Its colours are blue, green, red, as OpenCV has them.")
@click.option("--ascii", "in_ascii", is_flag=True, help="Draw with characters, without colours.")
@click.option("--wait", type=Duration(endless=True), help="Wait so long until it exists; or 'inf'.")
@opening
def view(
    name: str,
    output: str | None,
    follows: bool,
    rate: float,
    limits: tuple[float, float] | None,
    bgr: bool,
    in_ascii: bool,
    wait: float | None,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Show the newest frame of the topic NAME, or of the newest value NAME.

    A frame is an array of height x width, for grey, or height x width x 3 or 4, for colours. Bytes are shown as they
    are; other numbers from the least to the greatest, or within --range.

    Files need Pillow (pip install 'samemap[pictures]').
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    if output is not None and follows:
        raise click.UsageError("--follow is for the terminal: --output writes one picture")
    if not follows:
        with closing(open_channel(name, trust, wait, "r")) as channel:
            found = channel._sample() if isinstance(channel, Latest) else next(iter(channel.last(1)), None)
            if found is None:
                raise ValueError(f"{channel.path}: there is no frame yet: --follow waits for the first")
            picture = pixels(found.array, limits, bgr)
        if output is None:
            click.echo("\n".join(drawn(picture, in_ascii)))
        else:
            save(picture, output)
        return
    feed = Feed(name, trust, policy="latest", history=1, wait=wait)
    with feed, Screen() as screen, closing(follow(feed, None)) as messages:
        for sample in messages:
            with sample:
                picture = pixels(sample.array, limits, bgr)
                told = f"{name}: number {sample.seq}, {sample.age * 1000:.1f} ms old"
            screen.show([*drawn(picture, in_ascii), told])
            time.sleep(1 / rate)


def pixels(frame: Any, limits: tuple[float, float] | None, bgr: bool) -> Any:
    """Return a frame as bytes of grey or of red, green, blue.

    Args:
        frame: An array of numbers.
        limits: What is black and what is white; ``None`` for what it has, and for bytes as they are.
        bgr: Whether its colours are the other way round.

    Raises:
        ValueError: It is no picture.
    """
    import numpy as np

    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    if frame.dtype.kind not in "buif" or not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in (3, 4))):
        raise ValueError(
            f"a message of shape {frame.shape} and dtype {frame.dtype} is no picture: "
            "that is (height, width), or (height, width, 3 or 4), of numbers; 'samemap echo' shows it"
        )
    if bgr and frame.ndim == 3:
        frame = frame[:, :, [2, 1, 0, *range(3, frame.shape[2])]]
    if frame.dtype == np.uint8 and limits is None:
        return np.ascontiguousarray(frame)
    low, high = limits or (float(np.nanmin(frame)), float(np.nanmax(frame)))
    scaled = (frame.astype("f8") - low) / ((high - low) or 1) * 255
    return np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8)


def save(picture: Any, path: str) -> None:
    """Write a picture to a file."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ValueError("writing pictures needs Pillow: pip install 'samemap[pictures]'") from None
    try:
        Image.fromarray(picture).save(path)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: {error}; a name that ends with .png will do") from None


def drawn(picture: Any, in_ascii: bool) -> list[str]:
    """Return a picture as lines of characters that fit into the terminal."""
    import numpy as np

    columns, lines = shutil.get_terminal_size()
    height, width = picture.shape[:2]
    scale = min(columns / width, 2 * max(2, lines - 2) / height)
    rows, across = max(2, int(height * scale) // 2 * 2), max(1, int(width * scale))
    # The nearest pixel will do, at the size of characters.
    small = picture[np.arange(rows) * height // rows][:, np.arange(across) * width // across]
    if small.ndim == 2:
        small = np.repeat(small[:, :, None], 3, 2)
    small = small[:, :, :3]
    if in_ascii:
        grey = small.reshape(rows // 2, 2, across, 3).mean((1, 3)) / 256
        return ["".join(SHADES[int(level * len(SHADES))] for level in row).rstrip() for row in grey]
    result = []
    for upper, lower in zip(small[::2].tolist(), small[1::2].tolist(), strict=True):
        cells = [click.style("▀", fg=tuple(a), bg=tuple(b), reset=False) for a, b in zip(upper, lower, strict=True)]
        result.append("".join(cells) + "\x1b[0m")
    return result
