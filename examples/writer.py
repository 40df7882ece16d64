"""Write two words in turn into a region that strangers read, until Ctrl-C.

Run it: python examples/writer.py [SECONDS]
Meanwhile, in other terminals: python examples/reader.py, or: samemap read words --follow
"""

import itertools
import sys
import time

from samemap import Region

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

with Region("words", 4096) as region:  # opened, or made where it is missing
    for word in itertools.cycle(["Hello", "World"]):
        region.write_text(word)
        region.ring(0)  # wakes whoever sleeps on the four bytes at offset 0
        time.sleep(seconds)
