"""A parent and its child share a file: what one writes, the other reads.

Run it: python examples/parent_child.py
"""

import os

from samemap import Region

TURN, TEXT = 0, 8  # offsets: whose turn it is, a word to sleep on; and the text


def wait_for(region: Region, turn: int) -> None:
    """Sleep until it is that turn."""
    while (seen := region.load_u32(TURN)) != turn:
        region.wait(TURN, seen)


def say(region: Region, text: str, turn: int) -> None:
    """Write, and then hand the turn over."""
    region.write_text(text, TEXT)
    region.store_u32(TURN, turn)
    region.ring(TURN)


with Region.create("parent-child", 4096) as region:
    region.unlink()  # a child inherits the memory, so nobody needs the name
    child = os.fork()
    if child == 0:
        wait_for(region, 1)
        print("child reads:", region.read_text(TEXT), flush=True)
        say(region, "Hello, parent", 2)
        os._exit(0)
    say(region, "Hello, child", 1)
    wait_for(region, 2)
    print("parent reads:", region.read_text(TEXT))
    os.waitpid(child, 0)
