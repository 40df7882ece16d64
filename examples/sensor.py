"""Measure, ten times a second, until Ctrl-C: whoever wants it has the newest, and has it whole.

Run it: python examples/sensor.py NAME [COUNT]   (needs numpy)
Meanwhile, in another terminal: python examples/dashboard.py NAME ...; or: samemap echo NAME
"""

import contextlib
import itertools
import random
import sys
import time

from samemap import Latest

TEMPERATURE = [("celsius", "f4"), ("fahrenheit", "f4")]
name = sys.argv[1] if len(sys.argv) > 1 else sys.exit("usage: python examples/sensor.py NAME [COUNT]")
count = int(sys.argv[2]) if len(sys.argv) > 2 else None
celsius = 20.0

with contextlib.suppress(KeyboardInterrupt), Latest(name, dtype=TEMPERATURE, shape=()) as latest:
    for _ in itertools.islice(itertools.count(), count):
        celsius += random.uniform(-0.1, 0.1)
        latest.set((celsius, 32 + 1.8 * celsius))  # waits for nobody, however many look at it
        time.sleep(0.1)
