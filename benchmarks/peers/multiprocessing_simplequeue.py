"""multiprocessing.SimpleQueue: pickles through a pipe under a lock."""

from __future__ import annotations

import multiprocessing

from load import Load

from peers.multiprocessing_queue import Inherited


class Simple(Inherited):
    """The queue, which all processes inherit."""

    def __init__(self, name: str, load: Load) -> None:
        self.queue = multiprocessing.get_context("fork").SimpleQueue()


queue = Simple
