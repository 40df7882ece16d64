"""Show the newest values of several sensors, each when it changes, until Ctrl-C; asleep meanwhile, in one thread.

Run it: python examples/dashboard.py NAME ...   (needs numpy; each NAME is one that sensor.py has, before or after)
"""

import asyncio
import contextlib
import math
import sys

from samemap import Latest

if len(sys.argv) < 2:
    sys.exit("usage: python examples/dashboard.py NAME ...")


async def follow(sensor: Latest) -> None:
    """Print each value that is new when this comes to it, and no old one."""
    async for value in sensor:
        print(f"{sensor.name}: {value['celsius']:.2f} °C, {value['fahrenheit']:.2f} °F", flush=True)


async def follow_all(sensors: list[Latest]) -> None:
    """Follow them all at once."""
    await asyncio.gather(*map(follow, sensors))


with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
    sensors = [stack.enter_context(Latest.open(name, wait=math.inf)) for name in sys.argv[1:]]
    for sensor in sensors:
        sensor.wait_newer(0)  # asleep until there is one
        print(f"{sensor.name} is there, {sensor.age:.1f} s old", flush=True)
    asyncio.run(follow_all(sensors))
