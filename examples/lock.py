"""A lock that survives kill -9: a child dies with it, and the parent goes on, and is told."""

import os
import signal

from samemap import Lock, Region

with Region(None, 16) as account:
    lock = Lock()
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        lock.acquire()
        account.store_u64(0, account.load_u64(0) + 100)
        os.write(tell, b"x")
        signal.pause()  # dies here, before it counts the booking

    os.read(ready, 1)
    holder = lock.holder()
    print("held by the child:", holder is not None and holder.pid == child)
    os.kill(child, signal.SIGKILL)
    with lock:
        print("recovered:", lock.recovered)
        if lock.recovered:
            account.store_u64(8, account.load_u64(0) // 100)
        print("balance and bookings:", account.load_u64(0), account.load_u64(8))
    os.waitpid(child, 0)
    lock.close()
