"""Show numpy frames to another process without a copy, and wake it for each.

Run it: python examples/frames.py   (needs numpy: pip install 'samemap[numpy]')
"""

import multiprocessing

from samemap import PAGE_SIZE, Region

SHAPE = (480, 640, 3)
MADE, SEEN = 0, 4  # offsets of two words: the number of the last frame made, and of the last one looked at
FRAMES = 100


def look(region: Region) -> None:
    """Look at each frame, in another process."""
    frame = region.array("u1", SHAPE, offset=PAGE_SIZE)  # the very memory of the maker
    for number in range(1, FRAMES + 1):
        while region.load_u32(MADE) != number:
            region.wait(MADE, number - 1)
        assert (frame == number).all()
        region.store_u32(SEEN, number)
        region.ring(SEEN)
    print(f"looked at {FRAMES} frames of {frame.nbytes} bytes, none copied")


if __name__ == "__main__":
    with Region(None, PAGE_SIZE + 480 * 640 * 3) as region:
        frame = region.array("u1", SHAPE, offset=PAGE_SIZE)
        viewer = multiprocessing.get_context("spawn").Process(target=look, args=(region,))
        viewer.start()
        for number in range(1, FRAMES + 1):
            frame[:] = number
            region.store_u32(MADE, number)
            region.ring(MADE)
            while region.load_u32(SEEN) != number:
                assert region.wait(SEEN, number - 1, timeout=1) or viewer.is_alive(), "the viewer died"
        viewer.join()
