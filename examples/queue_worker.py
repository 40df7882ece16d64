"""Factor the numbers that a producer gives, until it has no more or Ctrl-C.

Run it: python examples/queue_worker.py   (the numbers come from queue_producer.py, before or after)
What it has in its hands when it dies, or at Ctrl-C, goes to another: it has only leased it.
"""

import contextlib
import math
from collections.abc import Iterator

from samemap import Queue, ShutDown


def factors(number: int) -> Iterator[int]:
    """Yield the prime factors, the smallest first."""
    divisor = 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            yield divisor
            number //= divisor
        divisor += 1
    if number > 1:
        yield number


with contextlib.suppress(KeyboardInterrupt, ShutDown), Queue.open("numbers", wait=math.inf) as numbers:
    while True:
        with numbers.lease() as job:
            found = " x ".join(map(str, factors(job.value)))
            print(f"{job.value} = {found} (attempt {job.attempt})", flush=True)
