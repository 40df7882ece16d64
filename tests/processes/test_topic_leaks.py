"""Ten thousand times made, subscribed, lent, pinned, waited for, and closed: nothing is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import succeed
from lives import LEADING, leave_quietly

# What is done over and over: each a full life, and how often in thousands.
LIVES = {
    "create and unlink": ("made = create('new', n); made.unlink(); made.close()", 10),
    "open or create": ("Topic('feed').close(); Latest('value').close()", 10),
    "open": ("KINDS[n % 2].open(NAMES[n % 2]).close()", 10),
    "look on": ("with KINDS[n % 2].open(NAMES[n % 2], mode='r') as looker: looker.stats()", 5),
    "anonymous": ("create(None, n).close()", 5),
    "forgotten": ("create(None, n)", 5),
    "refused": ("refused(ValueError, lambda: Topic('feed', slots=5)); refused(ValueError, lambda: Latest('feed'))", 5),
    "over a socket": ("feed.send_handle(ours); Topic.recv_handle(theirs).close()", 5),
    "subscribe and close": ("with feed.subscribe(POLICIES[n % 3], history=2) as made: made.poll()", 10),
    "subscribe and forget": ("feed.subscribe(POLICIES[n % 3])", 10),
    "subscribe and close the topic": ("made = Topic.open('feed'); made.subscribe(POLICIES[n % 3]); made.close()", 10),
    "looking subscription": ("with looker.subscribe(history=1) as made: made.poll()", 10),
    "publish and receive": ("feed.publish(bytes(n % 9000)); subscription.recv(0)", 10),
    "many": ("feed.publish_many([b'x', bytes(9000)]); subscription.recv_many()", 10),
    "rows": ("rows.publish_many(ROWS); reader.recv_many()", 5),
    "objects": ("objects.publish({'n': n, 'image': IMAGE}); getter.recv(0).value['image'][5]", 5),
    "pins outlive it": ("outlive(n)", 5),
    "loan": ("with feed.loan(9000) as place: place[0] = 1", 10),
    "loan and abandon": ("refused(KeyError, abandon); feed.loan(1)", 10),
    "frames": ("with rows.loan() as frame: frame[:] = n % 256\n    part = frame[1:]\n    reader.recv(0)", 5),
    "newest value": ("value.set(bytes(n % 9000)); value.get(); value.sample()", 10),
    "full": ("refused(Full, lambda: full.publish(b'x', 0)); refused(Full, lambda: full.loan(1, 1e-5))", 2),
    "empty": ("refused(Empty, lambda: silent.recv(1e-5)); refused(Empty, lambda: value.wait_newer(1 << 40, 1e-5))", 2),
    "wait": ("assert not samemap.wait([silent, never], 1e-5); assert not feed.wait_for_subscribers(99, 1e-5)", 2),
    "look": ("feed.stats(), feed.subscribers(), feed.publishers(), feed.participants(), feed.last(2), repr(feed)", 5),
    "asyncio": ("run(expected())", 1),
    "asyncio: cancel": ("run(cancelled())", 1),
}

SOURCE = """
import asyncio, gc, os, socket, sys, threading
import numpy as np
import samemap
from samemap import *

cycles = int(sys.argv[1])
ours, theirs = socket.socketpair()
ours.settimeout(10), theirs.settimeout(10)
KINDS, NAMES, POLICIES = (Topic, Latest), ("feed", "value"), ("latest", "drop", "block")
IMAGE, ROWS = np.ones(5000, "u1"), np.ones((4, 5000), "u1")
feed, value = Topic("feed", slots=4, max_message=9000), Latest("value")
looker = Topic.open("feed", mode="r")
subscription, never = feed.subscribe("block"), Latest()
rows, objects = Topic(shape=5000, dtype="u1"), Topic(codec="pickle")
reader, getter = rows.subscribe("block"), objects.subscribe("block")
full, quiet = Topic(slots=2), Topic()
kept, silent = full.subscribe("block"), quiet.subscribe()
full.publish_many([b"1", b"2"])
run = asyncio.new_event_loop().run_until_complete

def create(name, n):
    return KINDS[n % 2].create(name, max_message=100) if n % 2 == 0 else Latest.create(name, max_size=100)

def refused(kind, how):
    try:
        how()
    except kind:
        return
    raise AssertionError(kind)

def abandon():
    with feed.loan(9000) as place:
        place[0] = 1
        raise KeyError

def outlive(n):
    made = Topic.open("feed")
    mine = made.subscribe(POLICIES[n % 3])
    feed.publish(bytes(9000))
    views = [memoryview(sample := mine.recv(0)), sample.array, np.ndarray(9, "u1", buffer=sample)]
    made.close()
    del made, mine, sample
    assert views[n % 3][5] == 0
    subscription.recv(0)

async def expected():
    calls = (
        silent.recv_async(1e-5), full.publish_async(b"x", 1e-5), never.wait_newer_async(timeout=1e-5),
        feed.wait_for_subscribers_async(99, 1e-5), wait_async([silent, never], 1e-5),
    )
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [Empty, Full, Empty, bool, list], ends

async def cancelled():
    await cancel(silent.recv_async(), full.publish_async(b"x"), never.wait_newer_async(), wait_async([silent, never]))

def life(n):
    LIFE

def drain():
    for each in subscription, reader, getter:
        for sample in iter(each.poll, None):
            del sample

def held():
    return [(stats.loaned, stats.pinned, stats.subscribers, stats.waiting) for stats in map(Topic.stats, TOPICS)]

TOPICS = feed, rows, objects, full, quiet
after = lead(lambda n: (life(n), drain()), cycles, held)
assert after == [(0, 0, 1, 0)] * 5, after
assert [len(thing.participants()) for thing in (*TOPICS, value)] == [1] * 6
assert [len(topic.subscribers()) for topic in TOPICS] == [1] * 5
"""


@pytest.mark.parametrize(("life", "thousands"), LIVES.values(), ids=LIVES)
def test_nothing_is_kept(life: str, thousands: int, runtime_directory: Path) -> None:
    succeed(LEADING + SOURCE.replace("LIFE", life), 1000 * thousands)
    assert sorted(path.name for path in runtime_directory.iterdir()) == ["feed", "value"]


# What is open when the interpreter ends.
EXITS = {
    "everything in globals": "",
    "a loan": "loan = feed.loan(); place = loan.__enter__()",
    "views": "view, array = memoryview(sample), sample.array; feed.close(); del sample, feed",
    "a cycle": "cycle = [feed, subscription, sample, value]; cycle.append(cycle)",
    "daemon threads that wait": """
for wait in subscription.recv, lambda: list(subscription), value.wait_newer, lambda: feed.wait_for_subscribers(99):
    daemon(wait)
full = Topic(slots=2)
kept = full.subscribe("block")
full.publish_many([b"1", b"2"])
daemon(lambda: full.publish(b"3"))
""",
    "daemon threads that work": """
def publish():
    while True:
        feed.publish(bytes(9000)); value.set(b"x" * 5000)
def receive():
    mine, kept = feed.subscribe(), []
    while True:
        kept.append(mine.recv()); del kept[:-2]; value.get(); memoryview(kept[-1])[5]
def lend():
    while True:
        with feed.loan(9000) as place:
            place[:] = bytes(9000)
objects, full = Topic(codec="pickle"), Topic(slots=2)
getter, kept = objects.subscribe(), full.subscribe("block")
full.publish_many([b"1", b"2"])
def talk():
    while True:
        objects.publish({"any": "thing"})
def listen():
    for found in getter:
        found.value
def fail():
    while True:
        try: full.publish(b"3", 0)
        except Full: pass
for work in publish, receive, lend, talk, listen, fail:
    daemon(work)
""",
    "tasks": """
loop = asyncio.new_event_loop()
async def wait():
    tasks.extend(asyncio.ensure_future(call) for call in (subscription.recv_async(), value.wait_newer_async()))
    await asyncio.sleep(0.01)
tasks = []
loop.run_until_complete(wait())
for task in tasks:
    task._log_destroy_pending = False
""",
    "a truncated file": "os.truncate(feed.path, 0)",
}

EXIT = """
import asyncio, os, sys, threading, time
from samemap import *

feed, value = Topic("feed", max_message=9000), Latest("value")
subscription = feed.subscribe()
feed.publish(b"x" * 9000)
sample = subscription.recv(0)
"""


@pytest.mark.parametrize("setting", EXITS.values(), ids=EXITS)
@pytest.mark.parametrize("end", ["", "sys.exit(0)"], ids=["falls off", "sys.exit"])
def test_leaving_with_everything_open_is_quiet(setting: str, end: str, runtime_directory: Path) -> None:
    leave_quietly(EXIT, setting, end, runtime_directory)
