"""Publishers and subscribers killed and stopped at random, for some seconds: nothing is torn, lost or kept."""

from __future__ import annotations

import random
import time

import pytest
from isolated import until
from workers import Worker

from samemap import Counter, Latest, Topic

SECONDS = 4
LARGE = 20_000

#: What all of them have: messages that say who sent them, which of his they are, and whether they are whole.
MESSAGES = f"""
import random, struct, time, zlib
chance = random.Random(os.getpid() if (os := __import__('os')) else 0)
HEAD = struct.Struct('<QQI')

def make(who, n):
    size = chance.choice([0, 1, 100, 4000, 5000, {LARGE} - HEAD.size])
    body = bytes([n % 251]) * size
    return HEAD.pack(who, n, zlib.crc32(body)) + body

def read(sample, last, seen):
    message = memoryview(sample)
    who, n, check = HEAD.unpack(message[: HEAD.size])
    assert zlib.crc32(message[HEAD.size :]) == check, f'message {{sample.seq}} is torn'
    assert n > last.get(who, -1), f'message {{sample.seq}}: number {{n}} of {{who}} after {{last[who]}}'
    last[who] = n
    if seen:
        assert sample.seq == seen + 1 + sample.missed, f'{{sample.seq}} after {{seen}}, {{sample.missed}} missed'
    return sample.seq
"""

PUBLISH = f"""
feed = Topic.open('feed')

def go(who):
    n = 0
    while True:
        message = make(who, n)
        if chance.random() < 0.3:
            with feed.loan(len(message)) as place:
                place[:] = message
        else:
            feed.publish(message)
        n += 1
        if chance.random() < 0.01:
            # Now and then a loan that comes to nothing, and pauses in which others are alone.
            loan = feed.loan({LARGE})
            place = loan.__enter__()
            place[:] = bytes({LARGE})
            loan.__exit__(ValueError, None, None)
            del place
            time.sleep(0.002)
"""

SUBSCRIBE = """
feed = Topic.open('feed')

def go(policy):
    while True:
        subscription, last, seen, kept = feed.subscribe(policy, history=chance.choice([0, 3])), {}, 0, []
        for _ in range(chance.choice([50, 500])):
            sample = subscription.recv(60)
            seen = read(sample, last, seen)
            if policy == 'block':
                assert subscription.missed == 0
            kept.append((sample, bytes(sample)))
            # What is kept does not change.
            old, was = kept[0]
            assert bytes(old) == was, f'message {old.seq} has changed while it was pinned'
            del sample, old
            while len(kept) > chance.choice([0, 1, 2]):
                kept.pop(0)
        if chance.random() < 0.5:
            subscription.close()
        del kept
"""


class Player:
    """A worker that plays a part until it is killed."""

    def __init__(self, part: str, number: int) -> None:
        self.worker = Worker(MESSAGES)
        self.part = part
        self.worker.do(PUBLISH if part == "publish" else SUBSCRIBE)
        self.worker.tell(f"go({number if part == 'publish' else part!r})")

    def check(self) -> None:
        """Raise what it has found to be wrong."""
        if not self.worker.stopped and self.worker.answers(0):
            self.worker.answer()
            raise AssertionError(f"{self.part} ended")


@pytest.mark.parametrize(
    "parts",
    [["publish", "publish", "drop", "drop", "latest"], ["publish", "publish", "publish", "block", "block", "drop"]],
    ids=["free", "blocking"],
)
def test_nothing_is_torn_lost_or_kept(parts: list[str]) -> None:
    chance = random.Random(7)
    with Topic("feed", slots=12, max_message=LARGE) as feed:
        players = [Player(part, number) for number, part in enumerate(parts)]
        deaths, ends, seen = 0, time.monotonic() + SECONDS, 0
        try:
            while time.monotonic() < ends:
                time.sleep(0.005 * chance.random())
                at = chance.randrange(len(players))
                player = players[at]
                if player.worker.stopped:
                    player.worker.resume()
                elif chance.random() < 0.3:
                    player.worker.stop()
                else:
                    player.worker.killed()
                    deaths += 1
                    player.worker.end()
                    players[at] = Player(player.part, 1000 + deaths)
                for each in players:
                    each.check()
                assert feed.seq >= seen
                seen = feed.seq
        finally:
            for player in players:
                player.worker.end()
        assert deaths > 50
        assert seen > 200
        # All that the dead had comes back to whoever goes on, who gets all of his own.
        subscription = feed.subscribe("block")
        for n in range(400):
            number = feed.publish(b"%d" % n, timeout=10)
            sample = subscription.recv(0)
            assert (sample.seq, sample.value, sample.missed) == (number, b"%d" % n, 0)
        stats = feed.stats()
        assert (stats.loaned, stats.pinned, stats.subscribers, stats.waiting) == (0, 0, 1, 0)
        assert [found.policy for found in feed.subscribers() if found.alive] == ["block"]
        assert len(feed.last()) in (11, 12)
        # Each death may have been between the message and its count.
        counted = sum(everything[0] for _, _, everything, _ in feed._publishers())
        assert feed.seq - deaths <= counted <= feed.seq


SET = """
value = Latest.open('value')

def go(who):
    n = 0
    while True:
        body = bytes([n % 251]) * (SIZE - HEAD.size - n % 7)
        value.set(HEAD.pack(who, n, zlib.crc32(body)) + body)
        n += 1
"""

GET = """
value = Latest.open('value', mode=MODE)

def go(how):
    seen, last, got = 0, {}, 0
    while True:
        if how == 'get':
            sample = value.sample()
        else:
            value.wait_newer(seen, 60)
            sample = value.sample()
        assert sample.seq >= seen, f'{sample.seq} after {seen}'
        if sample.seq > seen:
            # The first has no head.
            seen, got = (read(sample, last, 0) if sample.seq > 1 else 1), got + 1
        if got == 20:
            # It has made progress, while others set all the time.
            value.get()
            got = 0
            progress.add()
"""


@pytest.mark.parametrize("size", [100, 300_000])
def test_values_are_never_torn_and_readers_get_on(size: int) -> None:
    chance = random.Random(9)
    setup = MESSAGES + SET.replace("SIZE", str(size))
    with Latest("value", max_size=size) as value, Counter("progress") as progress:
        value.set(bytes(size))
        readers = [
            (Worker(MESSAGES + "progress = Counter('progress')\n" + GET.replace("MODE", mode)), how)
            for mode, how in (("'r'", "get"), ("'rw'", "wait"))
        ]
        writers = [Worker(setup) for _ in range(2)]
        try:
            for number, writer in enumerate(writers):
                writer.tell(f"go({number})")
            until(lambda: value.sample().seq > 1, "the first value")
            for reader, how in readers:
                reader.tell(f"go({how!r})")
            ends, deaths = time.monotonic() + 2, 0
            while time.monotonic() < ends or progress.value < 4:
                time.sleep(0.02 * chance.random())
                deaths += 1
                at = deaths % 2
                writers[at].killed()
                writers[at].end()
                writers[at] = Worker(setup)
                writers[at].tell(f"go({100 + deaths})")
                for reader, _ in readers:
                    if reader.answers(0):
                        reader.answer()
        finally:
            for worker in (*writers, *(reader for reader, _ in readers)):
                worker.end()
        # All cells come back.
        for n in range(100):
            value.set(b"%d" % n)
            assert value.get() == b"%d" % n
