"""A log that grows under its reader: whoever has it open sees each growth without doing anything.

Run it: python examples/growing.py
"""

import os

from samemap import PAGE_SIZE, Region

LENGTH = 0  # the offset of a word: how many bytes of the region are in use; readers sleep on it
LINES = 1000

with Region(None, PAGE_SIZE, max_size=1 << 30) as log:  # reserves addresses, which cost nothing
    log.store_u32(LENGTH, 4)
    reader = os.fork()
    if reader == 0:
        seen, lines = 4, 0
        while lines < LINES:
            log.wait(LENGTH, seen)
            end = log.load_u32(LENGTH)
            lines += log[seen:end].count(b"\n")
            seen = end
        print(f"the child read {lines} lines and sees {len(log)} bytes", flush=True)
        os._exit(0)
    for number in range(LINES):
        line = f"line {number} of the log\n".encode()
        start = log.load_u32(LENGTH)
        if start + len(line) > len(log):
            log.resize(2 * len(log))  # views and other processes stay as they are
        log[start : start + len(line)] = line
        log.store_u32(LENGTH, start + len(line))
        log.ring(LENGTH)
    os.waitpid(reader, 0)
    print(f"the parent wrote {LINES} lines and has {len(log)} bytes")
