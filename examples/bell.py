"""Wake a C program and be woken by it, through a file that both map.

Run it: gcc -O2 -o /tmp/bell examples/c/bell.c && python examples/bell.py /tmp/bell
"""

import subprocess
import sys

from samemap import Region

PING, PONG = 0, 64  # offsets of two words; 64 bytes apart, they are on cache lines of their own
ROUNDS = 1000

if len(sys.argv) != 2:
    sys.exit("usage: python examples/bell.py PROGRAM    (the compiled examples/c/bell.c)")

with Region.create("bell", 4096) as region:
    partner = subprocess.Popen([sys.argv[1], str(region.path), str(ROUNDS)])
    try:
        for number in range(1, ROUNDS + 1):
            region.store_u32(PING, number)  # first the word, then the bell: never the other way round
            region.ring(PING)
            while region.load_u32(PONG) != number:
                if not region.wait(PONG, number - 1, timeout=1) and partner.poll() is not None:
                    sys.exit(f"the C program ended early, with status {partner.returncode}")
        print(f"{ROUNDS} times there and back, exit status {partner.wait()}")
    finally:
        partner.kill()
        partner.wait()
        region.unlink()
