"""Give numbers to whoever factors them, and wait until all are done.

Run it: python examples/queue_producer.py [COUNT]
Meanwhile, in as many other terminals as you like: python examples/queue_worker.py
Kill a worker at its work (kill -9): another one gets the number that it had.
"""

import random
import sys

from samemap import Queue

count = int(sys.argv[1]) if len(sys.argv) > 1 else 100

with Queue("numbers", maxsize=50, max_attempts=5) as numbers:
    try:
        for _ in range(count):
            numbers.put(random.randrange(10**9, 10**10))  # waits while 50 are waiting
        numbers.join()
        print(f"all {count} done; came back from workers: {numbers.stats().returned}")
        for letter in numbers.dead_letters():
            print(f"given up after {letter.attempt} attempts: {letter.value}")
    finally:
        numbers.shutdown()  # who waits for more need not
        numbers.unlink()
