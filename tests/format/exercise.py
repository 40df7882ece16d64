"""Does all that can be done with a segment, while another thread damages it: python exercise.py FILE KIND SEED SECONDS.

Whatever comes of it must be an error that the documents name, or some answer. Anything else, a crash included, ends
this process early; one that hangs is killed by its watchdog, with a traceback. In the end it prints how often each
operation was begun.
"""

from __future__ import annotations

import collections
import faulthandler
import functools
import mmap
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from samemap import LeaseLost, SegmentTruncated, ShutDown, _core
from samemap.encodings import BytesCodec

ERRORS = (ValueError, IndexError, OverflowError, RuntimeError, OSError, LeaseLost, ShutDown)
PARTICIPANTS = 6
PARAMETERS = {
    "Semaphore": [2, 3, 0],
    "Barrier": [2, 0, 0],
    "Namespace": [1 << 16, 0, 0],
    # Of more bytes than are copied at once, so that messages are pinned.
    "Topic": [5, 5000, 3],
    "Latest": [4, 100, 0],
    # Of more bytes than a cell has.
    "Queue": [5, 20_000, 2],
}
IN_NAMESPACES = ["Lock", "RLock", "Semaphore", "Event", "Condition", "Barrier", "Counter", "ReadWriteLock"]
KINDS = [*IN_NAMESPACES, "Namespace", "Topic", "Latest", "Queue"]
BRIEF = 0.002
PEER = """
import sys
from samemap import _core
segment = _core.Segment(sys.argv[1], "open", None, [0, 0, 0], 1, "", 0o600, True, False, False, -1)
(me,) = [found for found in segment.participants() if found.pid == __import__("os").getpid()]
print(me._tag, flush=True)
sys.stdin.read()
"""


def create(path: Path, kind: str, schema: str = "") -> _core.Segment:
    """Make one; a topic with messages in it, more than it has slots; a queue with jobs, and a dead letter."""
    numbers = PARAMETERS.get(kind, [0, 0, 0])
    made = _core.Segment(str(path), "create", kind, numbers, PARTICIPANTS, schema, 0o600, True, False, False, -1)
    if kind in ("Topic", "Latest"):
        topic = _core.Topic(made, BytesCodec(), True, "wait")
        for number in range(11):
            topic.publish(bytes(number * numbers[1] // 10))
    if kind == "Queue":
        queue = _core.Queue(made, BytesCodec(), "bytes")
        for length in (1, 100, 200, 5000):
            queue.put(bytes(length))
        queue.lease(0).bury()
    return made


def open_again(path: Path, *, writable: bool = True, kind: str | None = None) -> _core.Segment:
    return _core.Segment(str(path), "open", kind, [0, 0, 0], 1, "", 0o600, writable, False, False, -1)


Operations = dict[str, Callable[[], object]]


def pend(begin: Callable[[], Any]) -> None:
    """Begin to wait as a task does, look a few times, and give up."""
    pending = begin()
    for _ in range(2):
        if pending.attempt():
            pending.result()
            return
    pending.cancel()


def of_lock(segment: _core.Segment, offset: int, kind: str, chance: random.Random) -> Operations:
    lock = (_core.Lock if kind == "Lock" else _core.RLock)(segment, offset, chance.random() < 0.3)
    operations: Operations = {
        "acquire": lambda: lock.acquire(timeout=BRIEF),
        "poll": lambda: lock.acquire(blocking=False),
        "release": lock.release,
        "recover": lambda: lock.recover(BRIEF),
        "locked": lock.locked,
        "holder": lock._holder,
        "counts": lock.counts,
        "wait for any": lambda: _core.wait_any([lock], BRIEF),
    }
    if isinstance(lock, _core.RLock):
        owner = chance.getrandbits(64)
        operations["depth"] = lambda: (lock.depth, lock._is_owned())
        operations["acquire as"] = lambda: lock._acquire_as(owner)
        operations["release as"] = lambda: lock._release_as(owner)
        operations["begin"] = lambda: pend(lambda: lock._begin_acquire(owner))
    else:
        operations["begin"] = lambda: pend(lock._begin_acquire)
    return operations


def of_semaphore(segment: _core.Segment, offset: int, chance: random.Random) -> Operations:
    semaphore = _core.Semaphore(segment, offset)
    return {
        "acquire": lambda: semaphore.acquire(timeout=BRIEF),
        "poll": lambda: semaphore.acquire(blocking=False),
        "release": semaphore.release,
        "release many": lambda: semaphore.release(chance.randrange(1, 9)),
        "value": lambda: semaphore.value,
        "initial": lambda: semaphore.initial,
        "bound": lambda: semaphore.bound,
        "keep": lambda: semaphore.keep,
        "holders": semaphore._holders,
        "begin": lambda: pend(semaphore._begin_acquire),
        "wait for any": lambda: _core.wait_any([semaphore], BRIEF),
    }


def of_event(segment: _core.Segment, offset: int) -> Operations:
    event = _core.Event(segment, offset)
    return {
        "set": event.set,
        "clear": event.clear,
        "is_set": event.is_set,
        "wait": lambda: event.wait(BRIEF),
        "begin": lambda: pend(event._begin_wait),
        "wait for any": lambda: _core.wait_any([event], BRIEF),
    }


def of_condition(segment: _core.Segment, offset: int, chance: random.Random) -> Operations:
    condition = _core.Condition(segment, offset)
    lock = _core.RLock(segment, condition._lock_offset, False)

    def locked(work: Callable[[], object]) -> None:
        if lock.acquire(timeout=BRIEF):
            try:
                work()
            finally:
                lock.release()

    return {
        "wait": lambda: locked(lambda: condition._wait(lock, BRIEF)),
        "notify": lambda: locked(lambda: condition._notify(lock, chance.randrange(1, 4))),
        "waiters": condition._waiters,
        "release": lock.release,
        "wait without it": lambda: condition._wait(lock, BRIEF),
    }


def of_barrier(segment: _core.Segment, offset: int, chance: random.Random) -> Operations:
    barrier = _core.Barrier(segment, offset)

    def arrive() -> None:
        if barrier._arrive(BRIEF)[1]:
            (barrier._trip if chance.random() < 0.8 else barrier.abort)()

    return {
        "arrive": arrive,
        "begin": lambda: pend(barrier._begin_arrive),
        "trip": barrier._trip,
        "abort": barrier.abort,
        "reset": barrier.reset,
        "parties": lambda: barrier.parties,
        "n_waiting": lambda: barrier.n_waiting,
        "broken": lambda: barrier.broken,
    }


def of_counter(segment: _core.Segment, offset: int, chance: random.Random) -> Operations:
    counter = _core.Counter(segment, offset)
    number = functools.partial(chance.randint, -(1 << 63), (1 << 63) - 1)
    return {
        "value": lambda: counter.value,
        "add": lambda: counter.add(number()),
        "set": lambda: counter.set(number()),
        "max": lambda: counter.max(number()),
        "min": lambda: counter.min(number()),
        "compare_exchange": lambda: counter.compare_exchange(counter.value, number()),
        "wait_until": lambda: counter._wait_until(chance.choice([">=", "<=", "==", "!="]), number(), BRIEF),
        "begin": lambda: pend(lambda: counter._begin_wait_until("==", number())),
    }


def of_read_write_lock(segment: _core.Segment, offset: int, chance: random.Random) -> Operations:
    lock = _core.ReadWriteLock(segment, offset, chance.random() < 0.3)
    return {
        "read": lambda: lock.acquire_read(timeout=BRIEF),
        "poll to read": lambda: lock.acquire_read(blocking=False),
        "release read": lock.release_read,
        "write": lambda: lock.acquire_write(timeout=BRIEF),
        "poll to write": lambda: lock.acquire_write(blocking=False),
        "release write": lock.release_write,
        "recover": lambda: lock.recover(BRIEF),
        "readers": lock._readers,
        "writer": lock._writer,
        "is draining": lock._is_draining,
        "counts": lock.counts,
        "begin to read": lambda: pend(lock._begin_read),
        "begin to write": lambda: pend(lock._begin_write),
        "wait for any": lambda: _core.wait_any([lock], BRIEF),
    }


def of_namespace(segment: _core.Segment, chance: random.Random) -> Operations:
    def add() -> None:
        kind = chance.choice(IN_NAMESPACES)
        segment.add(f"{kind} {chance.randrange(3)}", kind, PARAMETERS.get(kind, [0, 0, 0]))

    def use() -> None:
        found = segment.objects()
        if found:
            _, kind, offset = chance.choice(found)
            inner = operations_of(segment, kind, offset, chance)
            inner[chance.choice(list(inner))]()

    return {"add": add, "objects": segment.objects, "find": lambda: segment.find("Lock 0"), "use": use}


def message(chance: random.Random, largest: int) -> bytes:
    return bytes(chance.choice([0, 1, 8, largest - 1, largest, largest + 1]))


def of_topic(segment: _core.Segment, chance: random.Random) -> Operations:
    when_full = chance.choice(["wait", "raise", "drop"])
    topic = _core.Topic(segment, BytesCodec(), chance.random() < 0.5, when_full)
    policy = chance.choice(["latest", "drop", "block"])
    subscription = _core.Subscription(topic, policy if segment.mode == "rw" else "drop", chance.randrange(9))
    kept: list[_core.Sample] = []
    largest = PARAMETERS["Topic"][1]

    def keep() -> None:
        kept.append(subscription.recv(BRIEF))

    def release() -> None:
        if kept:
            sample = kept.pop()
            memoryview(sample).tobytes()
            sample.release()

    def lend() -> None:
        with topic._loan(chance.randrange(largest + 2), BRIEF) as frame:
            frame[:] = bytes(len(frame))
            if chance.random() < 0.3:
                raise ValueError("it was abandoned")

    def tell() -> None:
        sample = subscription.recv(BRIEF)
        assert len(bytes(sample)) == len(sample) <= topic.max_message
        repr((sample, sample.age, sample.time, sample.publisher, sample.missed, sample.value, sample.pinned))

    def subscribe() -> None:
        _core.Subscription(topic, policy, chance.choice([0, 1, 5, 1 << 63])).recv(BRIEF)

    return {
        "publish": lambda: topic.publish(message(chance, largest), BRIEF),
        "publish now": lambda: topic.publish_nowait(message(chance, largest)),
        "publish many": lambda: topic._publish_rows(bytes(700), chance.choice([7, 70, 700]), BRIEF),
        "lend": lend,
        "receive": tell,
        "receive now": subscription.recv_nowait,
        "poll": subscription.poll,
        "receive bytes": lambda: subscription._recv_bytes(chance.randrange(9), BRIEF),
        "receive samples": lambda: subscription._recv_samples(chance.randrange(9), BRIEF),
        "receive rows": lambda: subscription._recv_rows(
            lambda _: bytearray(64), chance.randrange(100), chance.choice([1, 8, 7]), BRIEF
        ),
        "keep": keep,
        "release": release,
        "subscribe": subscribe,
        "leave": subscription.close,
        "lag": lambda: (subscription.lag, subscription.received, subscription.missed),
        "begin to receive": lambda: pend(subscription._begin_wait),
        "begin to publish": lambda: pend(topic._begin_room),
        "begin to wait for subscribers": lambda: pend(lambda: topic._begin_audience(chance.randrange(4))),
        "wait for subscribers": lambda: topic._wait_for_subscribers(chance.randrange(4), BRIEF),
        "wait for any": lambda: _core.wait_any([subscription], BRIEF),
        "last": lambda: [bytes(sample) for sample in topic._last(chance.choice([0, 1, 5, 1 << 63]))],
        "what it is": lambda: (topic.seq, topic.slots, topic.max_message, topic.max_subscribers),
        "counts": topic._counts,
        "subscribers": topic._subscribers,
        "publishers": topic._publishers,
        "bury": topic._bury,
        "wake": topic._wake,
    }


def of_latest(segment: _core.Segment, chance: random.Random) -> Operations:
    latest = _core.Latest(segment, BytesCodec(), chance.random() < 0.5)
    largest = PARAMETERS["Latest"][1]

    def tell() -> None:
        sample = latest._sample()
        if sample is not None:
            assert len(bytes(sample)) == len(sample) <= latest.max_size
            repr((sample, sample.age, sample.time, sample.publisher, sample.missed, sample.value, sample.pinned))

    return {
        "set": lambda: latest.set(message(chance, largest)),
        "get": lambda: latest.get(None),
        "get or raise": latest.get,
        "sample": tell,
        "wait for a newer one": lambda: latest.wait_newer(chance.choice([None, 0, latest.seq]), BRIEF),
        "newer": lambda: latest._newer(chance.choice([0, latest.seq]), BRIEF),
        "begin to wait": lambda: pend(lambda: latest._begin_newer(None)),
        "wait for any": lambda: _core.wait_any([latest], BRIEF),
        "what it is": lambda: (latest.seq, latest.max_size, latest._seen),
        "published": latest._published,
        "wake": latest._wake,
    }


def of_queue(segment: _core.Segment, chance: random.Random) -> Operations:
    queue = _core.Queue(segment, BytesCodec(), "bytes")
    kept: list[_core.Job] = []

    def put() -> None:
        queue.put(bytes(chance.choice([0, 1, 128, 129, 5000, 20_000, 30_000])), True, BRIEF)

    def keep() -> None:
        kept.append(queue.lease(BRIEF, chance.choice([None, 0.001, 10.0])))

    def end() -> None:
        if kept:
            job = kept.pop()
            repr((job, job.value, job.age, job.time, job.producer, job.expires, job.state, job.seq, job.attempt))
            chance.choice([job.done, job.give_back, job.bury, lambda: job.extend(0.001), lambda: None])()

    def look_at_the_dead() -> None:
        for letter in queue._dead_letters():
            repr((letter, letter.value, letter.time))
            chance.choice([letter.replay, letter.discard, lambda: None])()

    def shut_down() -> None:
        # Rarely: nothing can be put after it, until all is put back.
        if chance.random() < 0.02:
            queue.shutdown(chance.random() < 0.5)

    return {
        "put": put,
        "put now": lambda: queue.put_nowait(bytes(chance.randrange(300))),
        "put many": lambda: queue.put_many([bytes(7), bytes(700)], BRIEF),
        "get": lambda: queue.get(True, BRIEF),
        "get now": queue.get_nowait,
        "get many": lambda: queue.get_many(chance.randrange(1, 9), BRIEF),
        "keep": keep,
        "end": end,
        "lease now": queue.lease_nowait,
        "dead letters": look_at_the_dead,
        "task_done": queue.task_done,
        "join": lambda: queue.join(BRIEF),
        "shut down": shut_down,
        "begin to put": lambda: pend(lambda: queue._begin_put(chance.choice([1, 5000]))),
        "begin to get": lambda: pend(queue._begin_get),
        "begin to join": lambda: pend(queue._begin_join),
        "how many": lambda: (queue.qsize(), queue.empty(), queue.full()),
        "what it is": lambda: (queue.maxsize, queue.max_bytes, queue.max_attempts, queue.is_shut_down, queue.empty()),
        "jobs": queue._jobs,
        "workers": queue._workers,
        "totals": queue._totals,
    }


def operations_of(segment: _core.Segment, kind: str, offset: int, chance: random.Random) -> Operations:
    """Return all that can be done with an object, by what it is called."""
    if kind in ("Lock", "RLock"):
        return of_lock(segment, offset, kind, chance)
    if kind == "Event":
        return of_event(segment, offset)
    alone = {"Namespace": of_namespace, "Topic": of_topic, "Latest": of_latest, "Queue": of_queue}
    if kind in alone:
        return alone[kind](segment, chance)
    of = {
        "Semaphore": of_semaphore,
        "Condition": of_condition,
        "Barrier": of_barrier,
        "Counter": of_counter,
        "ReadWriteLock": of_read_write_lock,
    }
    return of[kind](segment, offset, chance)


def of_roster(segment: _core.Segment, chance: random.Random) -> Operations:
    return {
        "participants": lambda: [repr(found) for found in segment.participants()],
        "describe": lambda: repr(segment.describe(chance.getrandbits(32))),
        "bury": segment.bury,
    }


def attempt(operation: Callable[[], object]) -> BaseException | None:
    """Return the error that an operation ended with, if it is one of those that may be."""
    try:
        operation()
    except ERRORS as error:
        return error
    return None


def start_peers(path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start one participant that lives, and one that dies; return the living one, and the tags of both."""
    peers, tags = [], []
    for _ in range(2):
        line = [sys.executable, "-c", PEER, str(path)]
        peers.append(subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        output = peers[-1].stdout
        assert output is not None
        tags.append(int(output.readline()))
    peers[1].kill()
    peers[1].communicate()
    return peers[0], tags


def values(chance: random.Random, tags: list[int]) -> Iterator[int]:
    """Yield words that damage: what somebody could have meant, and what nobody could."""
    while True:
        mark = chance.choice([0, 1 << 31, 1 << 30, 3 << 30])
        yield chance.choice(
            [
                0,
                0xFFFFFFFF,
                1 << chance.randrange(32),
                chance.getrandbits(32),
                chance.randrange(8),
                chance.choice(tags) | mark,
                chance.choice(tags) + (1 << 10) | mark,
                PARTICIPANTS + chance.randrange(1, 9) | 1 << 10 | mark,
            ]
        )


def tables(whole: bytes) -> list[tuple[int, int]]:
    """Return where the tables of a topic or queue begin and end, the ring last; nothing where it is neither."""
    body = int.from_bytes(whole[96:104], "little")
    kind, participants = (int.from_bytes(whole[at : at + 4], "little") for at in (12, 84))
    if kind in (12, 13):
        jobs, lanes, ring = (int.from_bytes(whole[body + at :][:4], "little") for at in (4, 8, 12))
        workers = body + 256 + 192 * lanes
        table = workers + 128 * participants
        words = table + 128 * jobs
        return [(body, workers), (workers, table), (table, words), (words, words + 8 * ring)]
    if kind not in (10, 11):
        return []
    slots, ring, subscribers = (int.from_bytes(whole[body + at :][:4], "little") for at in (0, 4, 8))
    publishers = body + 256
    subscriptions = publishers + 64 * participants
    words = subscriptions + 192 * subscribers + 64 * slots
    return [(body, publishers), (publishers, subscriptions), (subscriptions, words), (words, words + 8 * ring)]


def parts(whole: bytes) -> list[tuple[int, int]]:
    """Return where the parts of a segment begin and end that are worth damaging: a topic's payloads are the least."""
    roster, body = 4096, int.from_bytes(whole[96:104], "little")
    return [(0, 128), (roster, body), (body, len(whole)), (body, body + 128), *tables(whole)]


def damage(path: Path, chance: random.Random, tags: list[int], over: threading.Event) -> None:
    """Change words at random, and every now and then put all back, so that no wait is for ever."""
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    whole = memory[:]
    words = values(chance, tags)
    while not over.wait(chance.choice([0, 0, 0.0005])):
        for _ in range(chance.randrange(1, 6)):
            start, end = chance.choice(parts(whole))
            at = chance.randrange(start, min(end, len(whole)) - 3) & ~3
            memory[at : at + 4] = next(words).to_bytes(4, "little")
        if chance.random() < 0.1:
            memory[:] = whole


def main() -> None:
    path, kind, seed, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    faulthandler.dump_traceback_later(seconds + 30, exit=True)
    chance = random.Random(seed)
    segment = create(path, kind)
    peer, tags = start_peers(path)
    tags += [found._tag for found in segment.participants() if found.pid == os.getpid()]
    looker = open_again(path, writable=False)
    over = threading.Event()
    damager = threading.Thread(target=damage, args=(path, random.Random(seed + 1), tags, over), daemon=True)
    damager.start()
    begun: collections.Counter[str] = collections.Counter()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if chance.random() < 0.1:
                segment.close()
                segment = open_again(path)
            operations = of_roster(segment, chance) | operations_of(segment, segment.kind, 0, chance)
            read_only = of_roster(looker, chance) | operations_of(looker, looker.kind, 0, chance)
        except ERRORS:
            if segment.closed:
                segment = reopen(path)
            continue
        for _ in range(20):
            name = chance.choice(list(operations))
            begun[name] += 1
            attempt(operations[name])
            assert not isinstance(attempt_to_look(read_only, chance), SegmentTruncated)
    over.set()
    damager.join()
    peer.communicate("")
    for name, times in sorted(begun.items()):
        print(times, name)


def reopen(path: Path) -> _core.Segment:
    """Open it as soon as its header is whole again."""
    while True:
        try:
            return open_again(path)
        except ERRORS:
            time.sleep(0.0002)


def attempt_to_look(operations: Operations, chance: random.Random) -> BaseException | None:
    """Try something on a segment that was opened to look on: a change of it is a TypeError."""
    try:
        return attempt(operations[chance.choice(list(operations))])
    except TypeError as error:
        if "read-only" not in str(error):
            raise
        return error


if __name__ == "__main__":
    main()
