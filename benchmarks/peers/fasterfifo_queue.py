"""faster-fifo, at its best: bytes without pickles, by its ``dumps`` and ``loads``, and a buffer that need not grow."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from typing import Any

import faster_fifo
from load import Load

#: Bytes of its ring, and of what is read at a time.
SIZE = 1 << 20
LARGE = 16 << 20


def _as_it_is(data: bytes) -> bytes:
    return data


class Inherited:
    """The queue, which all processes inherit."""

    def __init__(self, name: str, load: Load) -> None:
        self.size = LARGE if load.kind == "arrays" else SIZE
        self.batch = load.batch
        plain = {"dumps": _as_it_is, "loads": memoryview.tobytes} if load.kind == "bytes" else {}
        self.queue = faster_fifo.Queue(self.size, **plain)

    def putter(self) -> Callable[[Any], object]:
        """Return what puts."""
        return self.queue.put_many if self.batch else self.queue.put

    def getter(self, who: int) -> Callable[..., Any]:
        """Return what gets."""
        self.queue.reallocate_msg_buffer(self.size)
        return self.get_many if self.batch else self.queue.get

    def get_many(self, most: int) -> list[Any]:
        """Return at least one."""
        while True:
            try:
                return list(self.queue.get_many(max_messages_to_get=most))
            except Empty:
                # Of a wait that was over before anything came.
                continue

    def close(self) -> None:
        """Close it."""
        self.queue.close()


queue = Inherited
