"""Source for programs that lead a life ten thousand times, or end with everything open: what both leave behind."""

from __future__ import annotations

from pathlib import Path

from isolated import succeed

#: `lead(live, cycles, more)`: nothing is kept, of what `more` counts either, which is returned; `cancel(calls)`.
LEADING = """
import asyncio, gc, os, threading

def lead(live, cycles, more=lambda: None):
    def state():
        gc.collect()
        with open("/proc/self/status") as status:
            resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        with open("/proc/self/maps") as maps:
            shared = sum(line.split()[1].endswith("s") for line in maps)
        files = len(os.listdir(os.environ["SAMEMAP_DIR"]))
        return (len(os.listdir("/proc/self/fd")), shared, threading.active_count(), files, more()), resident

    for n in range(max(cycles // 10, 200)):
        live(n)
    before, resident = state()
    for n in range(cycles):
        live(n)
    after, resident_after = state()
    assert after == before, f"descriptors, mapped segments, threads, files, and more: {before} before, {after} after"
    # 100 bytes a cycle would show; what the allocator keeps in between does not.
    assert resident_after - resident < 1024, f"resident KiB: {resident} before, {resident_after} after"
    return after[4]

async def cancel(*calls):
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
"""

_DAEMON = """
entered = threading.Semaphore(0)

def daemon(target):
    def run():
        entered.release()
        target()
    threading.Thread(target=run, daemon=True).start()
    entered.acquire()
"""


def leave_quietly(program: str, setting: str, end: str, runtime_directory: Path) -> None:
    """Run a program that opens things, does what the setting says, which may use `daemon`, and ends without a word."""
    # Where threads race with the end, one run proves little.
    for _ in range(3 if "daemon(" in setting else 1):
        succeed(f"{program}\n{_DAEMON}\n{setting}\ntime.sleep(0.01)\n{end}\n")
        for left in runtime_directory.iterdir():
            left.unlink()
