"""Whether those who sleep are woken, or find out by themselves: they look after the dead every 50 ms."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from isolated import until


def is_woken(thing: Any, sleep: Callable[[], object], wake: Callable[[], object]) -> bool:
    """Tell whether a thread that sleeps for the thing is woken.

    Args:
        thing: What it sleeps for.
        sleep: What it does.
        wake: What should wake it. Done as often as it takes to be sure.
    """
    took = []
    for _ in range(50):
        times: list[float] = []
        sleeper = threading.Thread(
            target=lambda times=times: (times.append(time.monotonic()), sleep(), times.append(time.monotonic()))
        )
        sleeper.start()
        until(lambda: thing.stats().waiting == 1, "somebody who waits")
        # Its first look after the dead is over, and the next one is still far away.
        time.sleep(max(0.0, times[0] + 0.012 - time.monotonic()))
        woken = time.monotonic()
        wake()
        sleeper.join(60)
        if woken < times[0] + 0.025:
            took.append(times[1] - woken)
            if took[-1] < 0.02:
                return True
            if len(took) == 5:
                return False
    # The machine is so busy that it cannot be told.
    return True
