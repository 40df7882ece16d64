"""``samemap view``: a frame of a topic as a picture, in a file or in the terminal."""

from __future__ import annotations

import errno
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import click

from .._core import Sample
from ..latest import Latest
from ..topics import Topic
from .display import age, colour_wanted, cut, printable
from .feeds import Feed, follow
from .parameters import NAME, Duration, Trust, opening
from .screen import Screen
from .value_text import dtype_text, shape_text

__all__ = ["view"]

EXAMPLES = """\b
Examples:
  samemap view camera                      the newest frame, in the terminal
  samemap view camera --follow             and each that comes
  samemap view camera -o frame.png         in a file
  samemap view depth --range 0 5000        numbers that are no bytes
"""

#: Terminals that show 24-bit colours also where COLORTERM does not come through, as over ssh.
COLOURFUL = ("alacritty", "contour", "foot", "foot-extra", "xterm-ghostty", "xterm-kitty", "wezterm")


@click.command(epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write a picture (.png) instead.")
@click.option("--follow", "follows", is_flag=True, help="Go on with each newest frame, until Ctrl-C.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1),
    default=15.0,
    show_default=True,
    metavar="N",
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
@click.option(
    "--ascii/--colour",
    "in_ascii",
    default=None,
    help="Draw with characters, or in 24-bit colours.  [default: what the terminal can]",
)
@click.option("--wait", type=Duration(endless=True), help="Wait so long until it exists and has a frame; or 'inf'.")
@opening
def view(
    name: str,
    output: str | None,
    follows: bool,
    rate: float,
    limits: tuple[float, float] | None,
    bgr: bool,
    in_ascii: bool | None,
    wait: float | None,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Show the newest frame of the topic NAME, or of the newest value NAME.

    A frame is an array of height x width, or height x width x 1, for grey; or x 3 or 4, for colours. Bytes
    are shown as they are; other numbers from the least to the greatest, or within --range.

    It is drawn as large as the terminal allows: in 24-bit colours if $COLORTERM or $TERM says that it has
    them, else with characters, from dark to light.

    With --follow it subscribes, with the policy "latest": frames that come while one is drawn are skipped.

    Files need Pillow (pip install 'samemap[pictures]').
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    if output is not None and follows:
        raise click.UsageError("--follow is for the terminal: --output writes one picture")
    if limits is not None and not limits[0] < limits[1]:
        raise click.UsageError(f"--range {limits[0]:g} {limits[1]:g}: what is black must be less than what is white")
    manner = Manner(name, limits, bgr, not _has_colours() if in_ascii is None else in_ascii)
    deadline = None if wait is None else time.monotonic() + wait
    # One look takes part in nothing, and needs no more than the permission to read.
    feed = Feed(name, trust, policy="latest", history=1, wait=wait, mode="any" if follows else "r")
    with feed:
        _refuse_what_is_no_array(feed.channel)
        if follows:
            with closing(follow(feed, None)) as messages:
                _show(messages, manner, rate)
            return
        sample = _first(feed, deadline, wait)
        with sample:
            if output is None:
                click.echo("\n".join(_drawn(sample, manner)), color=None if in_ascii is None else True)
            else:
                from . import pictures

                pictures.save(pictures.pixels(sample.array, limits, bgr), output)


class Manner(NamedTuple):
    """How frames are shown.

    Attributes:
        name: What the user calls the topic.
        limits: What is black, and what is white.
        bgr: Whether blue comes first.
        in_ascii: Whether it is drawn without colours.
    """

    name: str
    limits: tuple[float, float] | None
    bgr: bool
    in_ascii: bool


def _first(feed: Feed, deadline: float | None, wait: float | None) -> Sample:
    sample = feed.next(0)
    if sample is not None:
        return sample
    if deadline is None:
        raise ValueError(f"{feed.channel.path}: there is no frame yet: --wait 10s waits for the first")
    left = deadline - time.monotonic()
    with closing(follow(feed, None if math.isinf(left) else max(0.0, left))) as messages:
        try:
            return next(messages)
        except TimeoutError as error:
            told = f"there is no frame yet; does anybody publish? (waited {wait:g} s)"
            raise TimeoutError(errno.ETIMEDOUT, told, error.filename) from None


def _show(messages: Iterator[Sample], manner: Manner, rate: float) -> None:
    if not sys.stdout.isatty():
        for sample in messages:
            with sample:
                click.echo("\n".join(_drawn(sample, manner)))
            time.sleep(1 / rate)
        return
    with Screen() as screen:
        for sample in messages:
            with sample:
                lines = _drawn(sample, manner)
            screen.show(lines)
            time.sleep(1 / rate)


def _drawn(sample: Sample, manner: Manner) -> list[str]:
    """Return the lines of a picture that fits into the terminal, and one about it."""
    from . import pictures

    frame = sample.array
    # Before it is drawn: that takes a while.
    old = f"{sample.age * 1000:.1f} ms" if sample.age < 1 else age(sample.age)
    columns, lines = shutil.get_terminal_size()
    picture = pictures.pixels(frame, manner.limits, manner.bgr)
    # Room for the line below, and for the prompt.
    height, width = pictures.fit(picture.shape[0], picture.shape[1], max(2, lines - 2), columns)
    small = pictures.shrink(picture, height, width)
    drawn = pictures.shades(small) if manner.in_ascii else pictures.half_blocks(small)
    about = f"{dtype_text(frame.dtype)} {shape_text(frame.shape)}"
    return [*drawn, cut(printable(f"{manner.name}: number {sample.seq}, {about}, {old} old"), columns)]


def _has_colours() -> bool:
    """Tell whether standard output is a terminal that says that it has 24-bit colours, and the user wants some."""
    if not sys.stdout.isatty() or colour_wanted() is False:
        return False
    term = os.environ.get("TERM", "")
    return os.environ.get("COLORTERM") in ("truecolor", "24bit") or term in COLOURFUL or term.endswith("-direct")


def _refuse_what_is_no_array(channel: Topic | Latest) -> None:
    if channel.codec != "numpy":
        raise ValueError(
            f"{channel.path}: its messages are of codec {channel.codec}, and pictures are arrays; "
            "'samemap echo' shows it"
        )
