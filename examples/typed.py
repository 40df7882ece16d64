"""Send objects of one's own types to another process, which gets objects of these types, and nothing else.

Run it: python examples/typed.py   (needs msgspec: pip install 'samemap[typed]')
"""

import os

import msgspec

from samemap import Topic


class Move(msgspec.Struct, tag=True):
    """Go there."""

    to: tuple[float, float]


class Stop(msgspec.Struct, tag=True):
    """Stay where you are."""

    why: str


with Topic(type=Move | Stop) as orders:
    subscription = orders.subscribe("block")
    robot = os.fork()
    if robot == 0:
        for order in subscription.values():  # a fork's child has one of its own, which goes on from here
            match order:
                case Move(to):
                    print(f"the robot goes to {to}", flush=True)
                case Stop(why):
                    print(f"the robot stops: {why}", flush=True)
                    os._exit(0)
    subscription.close()  # the robot has its own
    orders.publish(Move((3, 4)))
    orders.publish(Stop("a wall"))
    os.waitpid(robot, 0)
