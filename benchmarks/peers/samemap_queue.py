"""samemap: a queue, opened by its name in each process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from load import Load

from samemap import Queue


class Named:
    """The queue, which each process opens."""

    def __init__(self, name: str, load: Load) -> None:
        self.name, self.load = name, load
        codec = "bytes" if load.kind == "bytes" else "pickle"
        self.queue = Queue.create(name, codec=codec)

    def putter(self) -> Callable[[Any], object]:
        """Return what puts."""
        own = Queue.open(self.name)
        return own.put_many if self.load.batch else own.put

    def getter(self, who: int) -> Callable[..., Any]:
        """Return what gets."""
        own = Queue.open(self.name)
        return own.get_many if self.load.batch else own.get

    def close(self) -> None:
        """Close it."""
        self.queue.close()


queue = Named
