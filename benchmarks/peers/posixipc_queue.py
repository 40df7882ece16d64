"""posix_ipc: a message queue of the kernel's, of as many messages as this machine permits."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import posix_ipc
from load import Load


class Inherited:
    """The queue, whose descriptor all processes inherit."""

    def __init__(self, name: str, load: Load) -> None:
        most = int(Path("/proc/sys/fs/mqueue/msg_max").read_text())
        self.plain = load.kind == "bytes"
        size = 64 if self.plain else 512
        self.queue = posix_ipc.MessageQueue(f"/{name}", posix_ipc.O_CREX, max_messages=most, max_message_size=size)
        # So that nothing is left, whatever happens.
        self.queue.unlink()

    def putter(self) -> Callable[[Any], object]:
        """Return what puts."""
        return self.queue.send if self.plain else lambda value: self.queue.send(pickle.dumps(value))

    def getter(self, who: int) -> Callable[..., Any]:
        """Return what gets."""
        receive = self.queue.receive
        return (lambda: receive()[0]) if self.plain else lambda: pickle.loads(receive()[0])

    def close(self) -> None:
        """Close it."""
        self.queue.close()


queue = Inherited
