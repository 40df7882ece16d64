"""A small picture that moves on the terminal while frames flow: whoever sees the frames has put it into a `Latest`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import picture
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text
from screen import Screen
from source import Source

from samemap import Latest

REDRAW_EVERY = 0.1
#: The picture must not slow the frames down: for each second of drawing, so many are left to decoding.
DECODING_PER_DRAWING = 9
#: Lines that the picture leaves to its caption and to the prompt.
CAPTION_LINES = 4
WIDEST, TALLEST = 96, 26


def create_preview(screen: Screen, source: Source) -> Latest:
    """Make a black picture, as large as there is room for, under the name that everybody here knows."""
    if screen.lively:
        rows, columns = screen.console.height - CAPTION_LINES, screen.console.width - 4
        rows, columns = max(4, min(rows, TALLEST)), max(8, min(columns, WIDEST))
    else:
        rows, columns = 18, 64
    shape = (*picture.fit(source.height, source.width, rows, columns), 3)
    preview = Latest.create("preview", shape=shape, dtype="u1")
    preview.set(np.zeros(shape, "u1"))
    return preview


def drawing(screen: Screen, small: NDArray[Any]) -> RenderableType:
    """Return a picture as this screen can show it."""
    return picture.HalfBlocks(small) if screen.coloured else picture.shades(small)


class Window:
    """The picture while a person watches; nothing where nobody does."""

    def __init__(self, screen: Screen, preview: Latest) -> None:
        self._screen = screen
        self._preview = preview
        self._live = Live(console=screen.console, auto_refresh=False, transient=True) if screen.lively else None
        self._drawn = 0
        self._picture: RenderableType = Text()
        self._next = 0.0

    def __enter__(self) -> Window:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def refresh(self, caption: str) -> None:
        """Draw the newest picture, if it is time."""
        started = time.perf_counter()
        if self._live is None or started < self._next:
            return
        newest = self._preview.sample()
        if newest.seq != self._drawn:
            self._drawn = newest.seq
            self._picture = drawing(self._screen, newest.array)
        self._live.update(Group(self._picture, Text(f"  {caption}", style="dim")), refresh=True)
        ended = time.perf_counter()
        self._next = ended + max(REDRAW_EVERY, (ended - started) * DECODING_PER_DRAWING)
