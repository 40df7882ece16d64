"""zenoh: two peers over loopback, with congestion control that blocks."""

from __future__ import annotations

import time
import zlib
from typing import Any

import zenoh

from peers.case import Case

NAME = "zenoh"


def _session(name: str, listens: bool) -> Any:
    port = 20_000 + zlib.crc32(name.encode()) % 10_000
    config = zenoh.Config()
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5(f"{'listen' if listens else 'connect'}/endpoints", f'["tcp/127.0.0.1:{port}"]')
    if not listens:
        config.insert_json5("listen/endpoints", "[]")
    return zenoh.open(config)


class Sender:
    """Publishes."""

    def __init__(self, name: str, case: Case) -> None:
        self.session = _session(name, True)
        self.publisher = self.session.declare_publisher(
            f"bench/{name}", congestion_control=zenoh.CongestionControl.BLOCK, express=True
        )
        self.send = self.publisher.put

    def wait_for(self, count: int) -> None:
        """Wait until somebody receives."""
        while not self.publisher.matching_status.matching:
            time.sleep(0.005)
        time.sleep(0.3)


class Receiver:
    """Subscribes."""

    def __init__(self, name: str, case: Case) -> None:
        time.sleep(0.5)
        self.session = _session(name, False)
        self.subscriber = self.session.declare_subscriber(f"bench/{name}", zenoh.handlers.FifoChannel(4096))
        # Looked up once, as for all peers.
        look, wait = self.subscriber.try_recv, self.subscriber.recv

        def poll() -> bytes | None:
            sample = look()
            return None if sample is None else sample.payload.to_bytes()

        def recv() -> bytes:
            return bytes(wait().payload.to_bytes())

        self.poll, self.recv = poll, recv


sender, receiver = Sender, Receiver
