"""iceoryx2: a publish-subscribe service without overflow, and an event service to wait with."""

from __future__ import annotations

import ctypes
import math
import time
from typing import Any

import iceoryx2 as iox2
import numpy as np

from peers.case import Case

NAME = "iceoryx2"
DEPTH = 1024


def _payload(case: Case) -> Any:
    size = math.prod(case.frame) if case.frame else 64
    return type("Payload", (ctypes.Structure,), {"_fields_": [("data", ctypes.c_uint8 * size)]})


def _services(name: str, case: Case) -> tuple[Any, Any, Any]:
    iox2.set_log_level(iox2.LogLevel.Error)
    node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
    service = node.service_builder(iox2.ServiceName.new(name)).publish_subscribe(_payload(case))
    depth = 3 if case.frame else DEPTH
    service = service.subscriber_max_buffer_size(depth).enable_safe_overflow(False).history_size(0).max_subscribers(8)
    event = node.service_builder(iox2.ServiceName.new(f"{name}-event")).event().open_or_create()
    return node, service.open_or_create(), event


class Sender:
    """Publishes, and notifies those who wait."""

    def __init__(self, name: str, case: Case) -> None:
        self.case = case
        self.payload = _payload(case)
        self.node, self.service, self.event = _services(name, case)
        builder = self.service.publisher_builder().max_loaned_samples(2)
        self.publisher = builder.backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered).create()
        self.notifier = self.event.notifier_builder().create()
        self.notifies = False
        # Looked up once, as for all peers.
        self.loan, self.move = self.publisher.loan_uninit, ctypes.memmove

    def wait_for(self, count: int) -> None:
        """Wait until so many receive."""
        while self.service.dynamic_config.number_of_subscribers < count:
            time.sleep(0.001)
        self.publisher.update_connections()

    def send(self, data: bytes) -> None:
        """Send a message."""
        sample = self.loan()
        self.move(sample.payload_ptr, data, 64)
        sample.assume_init().send()
        if self.notifies:
            self.notifier.notify()

    def fill(self, number: int) -> None:
        """Send a frame that is full of a number."""
        sample = self.publisher.loan_uninit()
        size = math.prod(self.case.frame)
        frame = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(sample.payload_ptr))
        frame[:] = number
        sample.assume_init().send()


class Receiver:
    """Subscribes."""

    def __init__(self, name: str, case: Case) -> None:
        self.case = case
        self.size = math.prod(case.frame) if case.frame else 64
        self.node, self.service, self.event = _services(name, case)
        self.subscriber = self.service.subscriber_builder().create()
        self.listener = self.event.listener_builder().create()
        # Looked up once, as for all peers.
        receive, string_at = self.subscriber.receive, ctypes.string_at

        def poll() -> bytes | None:
            sample = receive()
            return None if sample is None else string_at(sample.payload_ptr, 64)

        self.poll = poll

    def recv(self) -> bytes:
        """Wait for a message, and return it."""
        while (found := self.poll()) is None:
            self.listener.blocking_wait()
        return found

    def read(self) -> int:
        """Wait for a frame, read all of it, and return its largest number."""
        while (sample := self.subscriber.receive()) is None:
            pass
        frame = np.ctypeslib.as_array((ctypes.c_uint8 * self.size).from_address(sample.payload_ptr))
        largest = int(np.max(frame))
        return largest


sender, receiver = Sender, Receiver
