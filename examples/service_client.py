"""Ask where the brightest spot of each frame is.

Run it: python examples/service_client.py [FRAMES]   (service_server.py answers, started before or after)
Kill a server at its work (kill -9), and start another one: the frame that it had is sent again.
"""

import random
import sys

from samemap import Client, PeerDied

count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000

with Client("brightest", wait=60) as client:
    asked_again = 0
    for number in range(count):
        spot = random.randrange(480), random.randrange(640)
        with client.loan() as frame:  # filled where the server will see it
            frame[:] = 0
            frame[spot] = 255
            while True:
                try:
                    found = client.call(frame, timeout=30)
                    break
                except PeerDied:
                    asked_again += 1
        assert found == spot, (found, spot)
        if number == 0:
            print("the first one is found", flush=True)
print(f"all {count} found; asked again: {asked_again}")
