"""samemap and its peers, measured in turns on the same two cores."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping

import click
from report import Figure

RUNS = 5


class Unavailable(Exception):
    """A peer is not installed, or failed."""


def cores() -> tuple[int, int]:
    """Return the two cores that all are pinned to."""
    own = sorted(os.sched_getaffinity(0))
    return own[0], own[-1]


def in_turns(work: Callable[[str], float], ours: str, peers: tuple[str, ...], left_out: list[str]) -> dict[str, float]:
    """Measure samemap and its peers in turns, and return the median of each that works.

    Args:
        work: Measures one of them.
        ours: What samemap is called.
        peers: What the others are called; one that fails is left out.
        left_out: Where to say so, and why.
    """
    found: dict[str, list[float]] = {}
    failed: set[str] = set()
    for _ in range(RUNS):
        for peer in (ours, *peers):
            if peer in failed:
                continue
            try:
                found.setdefault(peer, []).append(work(peer))
            except Unavailable as error:
                if peer == ours:
                    raise
                failed.add(peer)
                left_out.append(str(error))
                click.echo(f"left out: {error}", err=True)
    return {peer: statistics.median(times) for peer, times in found.items() if peer not in failed}


def compare(
    name: str, found: dict[str, float], ours: str, bars: Mapping[str, float | None], called: Callable[[str], str]
) -> list[Figure]:
    """Return a figure for each peer; ``bars`` says what part of a peer's time we may take."""
    takes = found[ours]
    figures = []
    for peer, theirs in found.items():
        if peer == ours:
            continue
        limit = bars.get(peer)
        bar = "-" if limit is None else f"at most {limit:.2f}"
        figures.append(Figure(name, takes, called(peer), theirs, bar, limit is None or takes <= limit * theirs))
    return figures
