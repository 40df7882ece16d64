"""samemap: a topic, whose subscriptions block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from peers.case import Case
from samemap import Topic

NAME = "samemap"


class Sender:
    """Publishes."""

    def __init__(self, name: str, case: Case) -> None:
        if case.frame:
            # Few slots, which the processor's cache can hold.
            self.topic = Topic(name, shape=case.frame, dtype="u1", slots=3)
        else:
            self.topic = Topic(name, max_message=64, slots=1024)
        self.send: Callable[[bytes], object] = self.topic.publish

    def wait_for(self, count: int) -> None:
        """Wait until so many receive."""
        self.topic.wait_for_subscribers(count)

    def fill(self, number: int) -> None:
        """Send a frame that is full of a number."""
        with self.topic.loan() as frame:
            frame[:] = number


class Receiver:
    """Subscribes."""

    def __init__(self, name: str, case: Case) -> None:
        self.subscription = Topic.open(name, wait=10).subscribe("block")
        self.poll = partial(self.subscription.get_nowait, None)
        self.recv: Callable[[], bytes] = self.subscription.get

    def read(self) -> int:
        """Wait for a frame, read all of it, and return its largest number."""
        with self.subscription.recv() as sample:
            return int(np.max(sample.array))


sender, receiver = Sender, Receiver
