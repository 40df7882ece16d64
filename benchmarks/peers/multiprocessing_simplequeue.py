"""multiprocessing.SimpleQueue: pickles through a pipe under a lock."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from load import Load


class Inherited:
    """The queue, which all processes inherit."""

    def __init__(self, name: str, load: Load) -> None:
        self.queue = multiprocessing.get_context("fork").SimpleQueue()

    def putter(self) -> Callable[[Any], object]:
        """Return what puts."""
        return self.queue.put

    def getter(self, who: int) -> Callable[..., Any]:
        """Return what gets."""
        return self.queue.get

    def close(self) -> None:
        """Close it."""
        self.queue.close()


queue = Inherited
