"""Sleeping until a word in a region changes, without ever sleeping for somebody who is gone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

from samemap import Region

#: A change wakes the sleeper at once; it also looks this often whether the other side still lives.
LOOK_EVERY = 0.2
PATIENCE = 60.0


class WaitError(Exception):
    """A word did not change although the other side lives."""


def wait_for_change(region: Region, offset: int, seen: int, still_there: Callable[[], None]) -> int:
    """Sleep until the 32-bit word at ``offset`` is no longer ``seen``.

    Args:
        region: Where the word is.
        offset: Where in it.
        seen: The value that is known already.
        still_there: Raises when waiting has no sense any more.

    Returns:
        The new value.

    Raises:
        WaitError: Nothing changed for `PATIENCE` seconds.
    """
    # Sleeps are counted, not the clock: time that this process spends stopped (Ctrl-Z) is nobody's fault.
    for _ in range(round(PATIENCE / LOOK_EVERY)):
        value = region.load_u32(offset)
        if value != seen:
            return value
        still_there()
        region.wait(offset, seen, LOOK_EVERY)
    raise WaitError(f"the word at offset {offset} of {region!r} stayed {seen} for {PATIENCE:.0f} s")


def child_of(pid: int) -> Callable[[], None]:
    """Return a check that ends this process when its parent ``pid`` is gone."""

    def still_there() -> None:
        if os.getppid() != pid:
            sys.exit(f"the demo (pid {pid}) that started this process is gone")

    return still_there


#: The check for programs that the demo starts. Forked children need one made before the fork.
demo_still_there = child_of(os.getppid())


def tell(**facts: object) -> None:
    """Print facts as a line of JSON for the demo to hear."""
    print(json.dumps(facts), flush=True)
