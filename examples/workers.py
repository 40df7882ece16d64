"""Processes that know each other's objects by name: two may work at once, all count, and one event stops them."""

import subprocess
import sys
import time

from samemap import Counter, Event, Semaphore


def work() -> None:
    """Work until told to stop."""
    with Event.open("workers-stop") as stop, Counter.open("workers-done") as done:
        desks = Semaphore.open("workers-desks")
        while not stop.is_set():
            with desks:  # comes back by itself if this process is killed
                time.sleep(0.001)
                done.add()
        desks.close()


def main() -> None:
    """Start four, and stop them when enough is done."""
    with Event.create("workers-stop") as stop, Counter.create("workers-done") as done:
        desks = Semaphore.create("workers-desks", 2)
        try:
            crowd = [subprocess.Popen([sys.executable, __file__, "work"]) for _ in range(4)]
            done.wait_until(100)
            stop.set()
            print("exit statuses:", [worker.wait() for worker in crowd])
            print("done at least 100:", done.value >= 100, "- desks free:", desks.value)
        finally:
            for thing in (stop, done, desks):
                thing.unlink()
            desks.close()


work() if sys.argv[1:] == ["work"] else main()
