"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One way to use a peer.

    Attributes:
        frame: The shape of a frame of bytes; empty for messages of 64 bytes.
        receivers: How many receive.
    """

    frame: tuple[int, ...] = ()
    receivers: int = 1
