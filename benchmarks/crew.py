"""A crew of processes around one thing: ``crew.py PEER WORK NAME CPU,CPU COUNT``.

It prints the nanoseconds of one message. WORK is ``bytes``, ``tuples``, ``arrays`` or ``many`` (through a queue),
``call``, ``late`` or ``busy`` (a call and its reply), ``map`` or ``there-and-back`` (an executor). What comes out is
compared with what went in.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import signal
import statistics
import sys
import time
import traceback
from array import array
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, wait
from time import perf_counter_ns
from typing import Any

from load import ARRAYS, Load, arrays, sparse
from peers.jobs import largest, negative

#: What every peer can do: some of them can only be inherited.
FORK = multiprocessing.get_context("fork")
#: Seconds until something has gone wrong.
PATIENCE = 60
#: How many at a time: faster-fifo is no faster with more.
BATCH = 256
#: What both sides of a late answer work, in nanoseconds: longer than any look before a sleep.
LATE = 200_000

Gate = Callable[[], object]


def _side(work: Callable[[Gate], object], cpu: int, barrier: Any, out: Connection) -> None:
    """Be one process of the crew."""
    os.sched_setaffinity(0, {cpu})
    # What is kept until it is compared would be looked through again and again.
    gc.disable()
    try:
        out.send((True, work(lambda: barrier.wait(PATIENCE))))
    except BaseException:
        barrier.abort()
        out.send((False, traceback.format_exc()))
    # Until it is killed: what it has sent may still be on its way.
    signal.pause()


def together(works: list[tuple[Callable[[Gate], object], int]], cpus: list[int], awaited: int) -> list[Any]:
    """Run the works, each in a process pinned to a core, and return what the first ``awaited`` of them say."""
    barrier = FORK.Barrier(len(works))
    processes, pipes = [], []
    try:
        for work, place in works:
            pipe, out = FORK.Pipe(duplex=False)
            process = FORK.Process(target=_side, args=(work, cpus[place % len(cpus)], barrier, out), daemon=True)
            process.start()
            # Here, so that no other process of the crew has it: it ends with the one that it is for.
            out.close()
            processes.append(process)
            pipes.append(pipe)
        return _said(pipes, awaited)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _said(pipes: list[Connection], awaited: int) -> list[Any]:
    said: dict[Connection, Any] = {}
    failures: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while not all(pipe in said for pipe in pipes[:awaited]):
        silent: list[Any] = [pipe for pipe in pipes if pipe not in said]
        # After one has failed, the others may soon say why.
        came = wait(silent, 1 if failures else max(deadline - time.monotonic(), 0))
        if not came:
            numbers = [number for number, pipe in enumerate(pipes[:awaited]) if pipe not in said]
            failures.append(f"no word from {numbers} for {PATIENCE} s")
            break
        for pipe in silent:
            if pipe in came:
                try:
                    fine, said[pipe] = pipe.recv()
                except EOFError:
                    fine, said[pipe] = False, "a process died"
                if not fine:
                    failures.append(said[pipe])
    if failures:
        # Who only waited for the one that failed has less to say.
        raise RuntimeError(min(failures, key=lambda failure: "BrokenBarrierError" in failure))
    return [said[pipe] for pipe in pipes[:awaited]]


def through_queue(peer: Any, name: str, cpus: list[int], load: Load) -> float:
    """Return the nanoseconds of a message, of which several put and several get an equal share."""
    queue = peer.queue(name, load)
    share = load.count // load.consumers

    def produce(who: int, gate: Gate) -> int:
        values = load.values(who)
        gate()
        put = queue.putter()
        batches = [values[at : at + load.batch] for at in range(0, len(values), load.batch)] if load.batch else values
        gate()
        begun = perf_counter_ns()
        for each in batches:
            put(each)
        return begun

    def consume(who: int, gate: Gate) -> tuple[int, bytes]:
        get = queue.getter(who)
        # As long as this runs: see there.
        kept = sparse(load.values(who) if load.kind != "arrays" else [])
        gate()
        gate()
        if load.kind == "arrays":
            # One after the other: all of them would not fit.
            numbers = array("Q", [load.number(get()) for _ in range(share)])
            return perf_counter_ns(), numbers.tobytes()
        found: list[Any] = []
        if load.batch:
            while len(found) < share:
                found += get(min(load.batch, share - len(found)))
        else:
            found = [get() for _ in range(share)]
        ended = perf_counter_ns()
        del kept
        return ended, array("Q", map(load.number, found)).tobytes()

    # A producer and a consumer on each core.
    sides: list[tuple[Callable[[Gate], object], int]] = [(partial(produce, n), n) for n in range(load.producers)]
    sides += [(partial(consume, n), n) for n in range(load.consumers)]
    try:
        said = together(sides, cpus, len(sides))
    finally:
        queue.close()
    begun, ends = said[: load.producers], said[load.producers :]
    numbers: list[int] = []
    for _, raw in ends:
        own = array("Q", raw)
        for producer in range(load.producers):
            its = [n for n in own if n // (load.count // load.producers) == producer]
            assert its == sorted(its), f"{peer.__name__}: not in order"
        numbers += own
    assert sorted(numbers) == list(range(load.count)), f"{peer.__name__}: lost or doubled"
    return float((max(ended for ended, _ in ends) - min(begun)) / load.count)


def call(peer: Any, name: str, cpus: list[int], count: int, busy: bool, work: int) -> float:
    """Return the nanoseconds of a call of 64 bytes and its reply, less what both sides work: the median."""
    service = peer.service(name, busy)

    def labour() -> None:
        if work:
            end = perf_counter_ns() + work
            while perf_counter_ns() < end:
                pass

    def answer(data: bytes) -> bytes:
        labour()
        return data

    def serve(gate: Gate) -> None:
        run = service.server(answer)
        gate()
        run()

    def ask(gate: Gate) -> list[int]:
        gate()
        ask_for = service.client()
        took = []
        for number in range(1, count + 1):
            data = number.to_bytes(8, "little") * 8
            begun = perf_counter_ns()
            labour()
            found = ask_for(data)
            took.append(perf_counter_ns() - begun)
            assert found == data, f"{peer.__name__}: {found!r} for {data!r}"
        # Not those in which it gets going.
        return took[count // 10 :]

    # Nobody waits for the server: it is killed.
    (took,) = together([(ask, 0), (serve, 1)], cpus, 1)
    return float(statistics.median(took) - 2 * work)


def through_pool(peer: Any, cpus: list[int], count: int, back: bool) -> float:
    """Return the nanoseconds of an array of 1 MiB that a pool of two works on."""
    os.sched_setaffinity(0, set(cpus))
    made = arrays()
    given = [made[number % ARRAYS] for number in range(count)]
    with peer.pool(2) as pool:
        # Its processes are there, and have imported what they need.
        list(pool.map(negative if back else largest, given[:20]))
        begun = perf_counter_ns()
        for number, found in enumerate(pool.map(negative if back else largest, given)):
            wanted = number % ARRAYS + 1
            if back:
                assert (found[4095::4096] == 255 - wanted).all(), f"{peer.__name__}: array {number} is wrong"
            else:
                assert found == wanted, f"{peer.__name__}: {found} for array {number}"
        took = perf_counter_ns() - begun
    return took / count


def main() -> None:
    """Be that crew."""
    kind, work, name, places, number = sys.argv[1:]
    peer, cpus, count = importlib.import_module(f"peers.{kind}"), [int(cpu) for cpu in places.split(",")], int(number)
    if work in ("map", "there-and-back"):
        took = through_pool(peer, cpus, count, work == "there-and-back")
    elif work in ("call", "late", "busy"):
        took = call(peer, name, cpus, count, work == "busy", LATE if work == "late" else 0)
    elif work == "many":
        took = through_queue(peer, name, cpus, Load("bytes", count, BATCH))
    else:
        took = through_queue(peer, name, cpus, Load(work, count))
    print(took, flush=True)


if __name__ == "__main__":
    main()
