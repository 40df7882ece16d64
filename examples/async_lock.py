"""A hundred tasks in two processes share one lock; none blocks its event loop, and one thread waits for all."""

import asyncio
import os
import threading

from samemap import AcquireTimeout, Lock, Region


async def add(lock: Lock, sums: Region) -> None:
    """Add one, in two steps."""
    async with lock:
        before = sums.load_u64(0)
        await asyncio.sleep(0)  # others run here, but none that wants the lock
        sums.store_u64(0, before + 1)


async def main(lock: Lock, sums: Region) -> None:
    """Add fifty at once."""
    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(add(lock, sums))


with Region(None, 8) as sums:
    lock = Lock()
    child = os.fork()
    asyncio.run(main(lock, sums))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    print("sum:", sums.load_u64(0), "- threads:", threading.active_count())
    with lock:
        try:
            with lock.within(0.01):
                pass
        except AcquireTimeout as error:
            print("held by this process:", error.holder is not None and error.holder.pid == os.getpid())
    lock.close()
