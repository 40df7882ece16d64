"""One side of a measurement, in a process of its own: ``side.py PEER ROLE NAME CPU COUNT [SHAPE [RECEIVERS]]``.

It says that it is ready, waits for a line on its standard input, and prints what it measured as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from time import perf_counter_ns
from typing import Any

from load import sparse
from peers.case import Case


def message(number: int) -> bytes:
    """Return a message of 64 bytes that has a number in it."""
    return number.to_bytes(8, "little") * 8


def ready() -> None:
    """Say so, and wait until the other side is, too."""
    print("ready", flush=True)
    sys.stdin.readline()


def ping(peer: Any, name: str, count: int, case: Case, busy: bool) -> object:
    """Send, and wait for the answer; return the nanoseconds of each round trip."""
    out = peer.sender(f"{name}-a", case)
    ready()
    back = peer.receiver(f"{name}-b", case)
    out.wait_for(1)
    ready()
    out.notifies = not busy
    took = []
    poll, recv = getattr(back, "poll", None), getattr(back, "recv", None)
    for number in range(1, count + 1):
        data = message(number)
        begun = perf_counter_ns()
        out.send(data)
        if busy:
            while (found := poll()) is None:  # type: ignore[misc] # a peer that is asked for this has it
                pass
        else:
            found = recv()  # type: ignore[misc] # as above
        took.append(perf_counter_ns() - begun)
        assert found == data, f"{peer.NAME}: {found!r} for {data!r}"
    # Not those in which it gets going.
    return took[count // 10 :]


def pong(peer: Any, name: str, count: int, case: Case, busy: bool) -> object:
    """Answer."""
    back = peer.sender(f"{name}-b", case)
    ready()
    out = peer.receiver(f"{name}-a", case)
    back.wait_for(1)
    ready()
    back.notifies = not busy
    poll, recv = getattr(out, "poll", None), getattr(out, "recv", None)
    for _ in range(count):
        if busy:
            while (found := poll()) is None:  # type: ignore[misc] # as above
                pass
        else:
            found = recv()  # type: ignore[misc] # as above
        back.send(found)
    return None


def source(peer: Any, name: str, count: int, case: Case) -> object:
    """Send messages, one by one; return when it began."""
    out = peer.sender(name, case)
    ready()
    out.wait_for(case.receivers)
    ready()
    begun = perf_counter_ns()
    if case.frame:
        for number in range(count):
            out.fill(number % 251)
    else:
        data = [message(number) for number in range(count)]
        begun = perf_counter_ns()
        send = out.send
        for each in data:
            send(each)
    # Until all have been received, this side stays.
    sys.stdin.readline()
    return begun


def sink(peer: Any, name: str, count: int, case: Case, busy: bool) -> object:
    """Receive messages, and check them; return when it ended."""
    back = peer.receiver(name, case)
    # As long as this runs: see there.
    kept = sparse([] if case.frame else [message(number) for number in range(count)])
    ready()
    ready()
    if case.frame:
        for number in range(count):
            found = back.read()
            assert found == number % 251, f"{peer.NAME}: frame {number} is full of {found}"
        return perf_counter_ns()
    messages: list[bytes] = []
    keep = messages.append
    if busy:
        poll = back.poll
        while len(messages) < count:
            if (data := poll()) is not None:
                keep(data)
    else:
        recv = back.recv
        for _ in range(count):
            keep(recv())
    ended = perf_counter_ns()
    del kept
    assert all(data == message(number) for number, data in enumerate(messages)), f"{peer.NAME} lost a message"
    return ended


def main() -> None:
    """Be that side."""
    kind, role, name, cpu, count = sys.argv[1:6]
    shape = tuple(int(n) for n in sys.argv[6].split("x")) if len(sys.argv) > 6 and sys.argv[6] != "-" else ()
    case = Case(shape, int(sys.argv[7]) if len(sys.argv) > 7 else 1)
    os.sched_setaffinity(0, {int(cpu)})
    peer = importlib.import_module(f"peers.{kind}")
    roles = {
        "busy-ping": lambda n: ping(peer, name, n, case, True),
        "busy-pong": lambda n: pong(peer, name, n, case, True),
        "ping": lambda n: ping(peer, name, n, case, False),
        "pong": lambda n: pong(peer, name, n, case, False),
        "source": lambda n: source(peer, name, n, case),
        "sink": lambda n: sink(peer, name, n, case, False),
        "busy-sink": lambda n: sink(peer, name, n, case, True),
    }
    print(json.dumps(roles[role](int(count))), flush=True)


main()
