"""A parent and its child exchange integers through memory that has no name.

Run it: python examples/anonymous.py
"""

import os

from samemap import Region

with Region(None, 4096) as region:  # gone with its last holder, however that ends
    numbers = memoryview(region).cast("i")
    numbers[0] = 42
    child = os.fork()
    if child == 0:
        print("child reads:", numbers[0], flush=True)
        numbers[0], numbers[1] = 43, -1
        os._exit(0)
    os.waitpid(child, 0)
    print("parent reads:", numbers[0], numbers[1])
