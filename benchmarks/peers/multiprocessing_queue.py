"""multiprocessing.Queue: pickles through a pipe under a lock, fed by a thread; without a limit, as it comes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from load import Load


class Inherited:
    """The queue, which all processes inherit."""

    def __init__(self, name: str, load: Load) -> None:
        self.queue = multiprocessing.get_context("fork").Queue()

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
