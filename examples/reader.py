"""Print the words that a stranger writes, each when it comes, until Ctrl-C.

Run it: python examples/reader.py [COUNT]
The writer may start later: python examples/writer.py, or: samemap write words --every 1s Hello World
"""

import contextlib
import itertools
import math
import sys

from samemap import Region

count = int(sys.argv[1]) if len(sys.argv) > 1 else None

with contextlib.suppress(KeyboardInterrupt), Region.open("words", mode="r", wait=math.inf) as region:
    shown = ""
    for _ in itertools.islice(itertools.count(), count):
        while True:
            seen = region.load_u32(0)  # first: a change after this ends the wait below at once
            text = region.read_text()
            if text != shown:
                break
            region.wait(0, seen, timeout=0.05)  # a C writer never rings, so look now and then
        shown = text
        print(text, flush=True)
