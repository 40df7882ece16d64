"""Scenes with strangers: programs that were started separately, and meet in memory."""

from __future__ import annotations

import os
import socket
import statistics
from pathlib import Path

import numpy as np
from processes import Processes
from screen import Screen, check
from waiting import PATIENCE

from samemap import Region
from samemap.holders import locate, survey

TEXTS = ["Hello", "World"] * 4
MIB = 1 << 20
BEFORE, AFTER = 1 * MIB, 64 * MIB


def in_a_file(screen: Screen, processes: Processes) -> None:
    """A reader prints each change that a writer makes; neither knows the other."""
    code = (
        'writer:  region.write_text("World"); region.ring(64)\n'
        'reader:  region = Region.open("greeting", mode="r", wait=60)\n'
        "         region.wait(64, seen)       # asleep until it rings"
    )
    screen.scene(2, "Strangers meet in a mapped file", code)
    reader = processes.start("reader", "reader.py", "greeting", len(TEXTS))
    name = reader.hear()["waiting"]
    screen.line("reader", reader.pid, f'is there first, and waits for "{name}" to appear')
    writer = processes.start("writer", "writer.py", "greeting")
    screen.line("writer", writer.pid, f"creates {writer.hear()['path']}")
    found = reader.hear()
    screen.line("reader", reader.pid, f"found it: {found['size']} bytes, mapped read-only")
    times = []
    for text in TEXTS:
        writer.say(text)
        heard = reader.hear()
        times.append(heard["microseconds"])
        screen.line("reader", reader.pid, f'"{heard["text"]}"', heard["microseconds"])
        check(heard["text"] == text, f"the writer wrote {text!r}, the reader saw {heard['text']!r}")
    writer.say_no_more()
    writes = writer.hear()["writes"]
    storm = reader.hear()
    writer.finish()
    reader.finish()
    screen.line("writer", writer.pid, f"Hello, World, Hello... as fast as it can: {writes:,} times")
    screen.line(
        "reader",
        reader.pid,
        f"looked {storm['readings']:,} times, saw {storm['changed']:,} changes",
    )
    check(storm["torn"] == 0, f"{storm['torn']} readings found a text that nobody wrote")
    check(storm["readings"] > 0, "the reader never looked")
    median = statistics.median(times)
    screen.proved(f"Median wake-up {median:.0f} µs. Torn texts: {storm['torn']} in {storm['readings']:,}.")


def in_growing_memory(screen: Screen, processes: Processes) -> None:
    """A mapping grows under live numpy views, another process sees it, and the last holder takes it along."""
    code = (
        "view = region.array('u4')            # numpy, no copy\n"
        "region.send_handle(sock)             # to a stranger\n"
        "region.resize(64 << 20)              # view stays valid"
    )
    screen.scene(4, "Memory that grows under live views, and goes with its last holder", code)
    me = os.getpid()
    region = Region(None, BEFORE)
    file, _ = locate(region.fileno())
    view = region.array("u4")
    view[:] = np.arange(view.size)
    expected = int(view.sum(dtype="u8"))
    address = view.ctypes.data
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(processes.directory / "door"))
        door.listen()
        door.settimeout(PATIENCE)
        keeper = processes.start("keeper", "keeper.py", processes.directory / "door")
        line, _ = door.accept()
        with line:
            region.send_handle(line)
    screen.line("demo", me, f"hands {BEFORE // MIB} MiB without a name to a stranger, over a socket")
    keeper.say("look")
    looked = keeper.hear()
    screen.line("keeper", keeper.pid, f"sees {looked['size'] // MIB} MiB, sum {looked['first_sum']:,}")
    check(looked["first_sum"] == expected, f"the keeper's sum is {looked['first_sum']}, not {expected}")

    region.resize(AFTER)
    region.array("u4")[-1] = 4242
    screen.line("demo", me, f"grows it to {AFTER // MIB} MiB, and writes 4242 at the new end")
    check(int(view.sum(dtype="u8")) == expected, "the old view changed")
    check(region.array("u4").ctypes.data == address, "the memory moved under a live view")
    keeper.say("look")
    looked = keeper.hear()
    screen.line(
        "keeper",
        keeper.pid,
        f"did nothing, sees {looked['size'] // MIB} MiB with {looked['last']} at the end",
    )
    check(looked["size"] == AFTER, f"the keeper sees {looked['size']} bytes, not {AFTER}")
    check(looked["last"] == 4242, f"the keeper sees {looked['last']} at the end, not 4242")
    check(looked["first_sum"] == expected and not looked["moved"], "the keeper's old view is no longer valid")

    def holders() -> list[int]:
        return [holder.pid for holder in survey([file]).holders[file]]

    check(holders() == sorted([me, keeper.pid]), f"processes {holders()} map it")
    screen.line("demo", me, f"/proc shows who maps it: {me} and {keeper.pid}; the demo lets go")
    region.close()
    check(int(view[-1]) == view.size - 1, "the view did not outlive its region")
    del view
    check(holders() == [keeper.pid], f"after the demo let go, processes {holders()} map it")
    before = _shared_memory()
    screen.line("keeper", keeper.pid, "is the only one who still holds it; now it ends")
    keeper.say_no_more()
    keeper.finish()
    check(holders() == [], f"processes {holders()} still map it")
    gone = (before - _shared_memory()) / MIB
    screen.line("demo", me, f"nobody maps it; the machine has {gone:.1f} MiB more to give")
    screen.proved("Views never moved; growth is seen at once; nothing is left behind.")


def _shared_memory() -> int:
    """Return how much shared memory the whole machine uses, in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Shmem:"):
            return int(line.split()[1]) * 1024
    return 0
