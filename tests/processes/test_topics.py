"""Topics between real processes: deaths, stops, forks, other users, storms."""

from __future__ import annotations

import os
import random
import stat
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from isolated import until
from workers import workers

import samemap
from samemap import Latest, Topic

LARGE = 20_000

pytestmark = pytest.mark.usefixtures("runtime_directory")


def whole(number: int) -> bytes:
    """Return a large message that says its number, and whose end is its checksum."""
    body = number.to_bytes(8, "little") + bytes([number % 251]) * (LARGE - 12)
    return body + zlib.crc32(body).to_bytes(4, "little")


def is_whole(message: bytes) -> bool:
    return zlib.crc32(message[:-4]).to_bytes(4, "little") == message[-4:]


def counts(topic: Topic) -> tuple[int, int]:
    topic._bury()
    stats = topic.stats()
    return stats.loaned, stats.pinned


class TestDeath:
    def test_a_publisher_that_dies_while_it_fills_a_slot_leaves_nothing(self) -> None:
        with Topic("t", max_message=LARGE, slots=4) as topic, workers(1) as (worker,):
            worker.do(
                "topic = Topic.open('t'); loan = topic.loan(); place = loan.__enter__(); place[:9] = b'half done'"
            )
            assert topic.stats().loaned == 1
            worker.killed()
            subscription = topic.subscribe("block")
            for number in range(1, 9):
                assert topic.publish(whole(number), timeout=10) == number
                assert is_whole(bytes(subscription.recv(10)))
            assert counts(topic) == (0, 0)

    def test_the_pins_of_one_that_dies_come_back(self) -> None:
        with Topic("t", max_message=LARGE, slots=3) as topic, workers(1) as (worker,):
            worker.do("topic = Topic.open('t'); sub = topic.subscribe()")
            for number in (1, 2, 3):
                topic.publish(whole(number))
            worker.do("kept = [sub.recv(), sub.recv(), sub.recv()]")
            with pytest.raises(samemap.Full, match=rf"pinned by pid {worker.pid} ") as caught:
                topic.publish(whole(4), timeout=0.2)
            assert "message 1" in str(caught.value)
            worker.killed()
            assert topic.publish(whole(4), timeout=10) == 4
            assert counts(topic) == (0, 0)

    def test_one_that_blocks_and_dies_holds_nobody_up(self) -> None:
        with Topic("t", slots=2) as topic, workers(1) as (worker,):
            worker.do("topic = Topic.open('t'); sub = topic.subscribe('block')")
            topic.publish(b"1")
            topic.publish(b"2")
            with pytest.raises(samemap.Full, match=rf"not yet read by pid {worker.pid} "):
                topic.publish(b"3", timeout=0.1)
            worker.killed()
            assert topic.publish(b"3", timeout=10) == 3

    def test_what_was_published_outlives_all(self) -> None:
        with workers(1) as (worker,):
            worker.do("topic = Topic('t', slots=8)\nfor n in range(20): topic.publish(b'%d' % n)")
            worker.killed()
        with Topic.open("t", mode="r") as topic:
            assert [sample.value for sample in topic.last()] == [b"%d" % n for n in range(12, 20)]
            assert [sample.seq for sample in topic.last(3)] == [18, 19, 20]

    def test_a_storm_of_deaths_tears_and_loses_nothing(self) -> None:
        publish = (
            "import zlib\n"
            "topic = Topic.open('t')\n"
            "def whole(n):\n"
            f"    body = n.to_bytes(8, 'little') + bytes([n % 251]) * {LARGE - 12}\n"
            "    return body + zlib.crc32(body).to_bytes(4, 'little')\n"
            "def go():\n"
            "    n = 0\n"
            "    while True:\n"
            "        n += 1\n"
            "        topic.publish(whole(n))\n"
            "import threading; threading.Thread(target=go, daemon=True).start()"
        )
        receive = (
            "topic = Topic.open('t'); sub = topic.subscribe('drop'); kept = []\n"
            "def go():\n"
            "    for sample in sub:\n"
            "        kept.append(sample)\n"
            "        del kept[:-2]\n"
            "import threading; threading.Thread(target=go, daemon=True).start()"
        )
        chance = random.Random(4)
        with Topic("t", max_message=LARGE, slots=8) as topic:
            subscription = topic.subscribe("drop")
            for _ in range(8):
                with workers(4) as some:
                    for each, work in zip(some, (publish, publish, receive, receive), strict=True):
                        each.do(work)
                    ends = time.monotonic() + 0.1 + chance.random() / 5
                    last = topic.seq
                    while time.monotonic() < ends:
                        sample = subscription.recv(10)
                        assert is_whole(bytes(sample))
                        assert sample.seq > last - 9
                        last = sample.seq
                        del sample
                    for each in some:
                        each.killed()
            before = topic.seq
            block = topic.subscribe("block")
            for number in range(1, 25):
                assert topic.publish(whole(number), timeout=10) == before + number
                assert bytes(block.recv(10)) == whole(number)
            assert counts(topic) == (0, 0)
            assert len(topic.subscribers()) == 2
            assert subscription.received + subscription.missed + subscription.lag == topic.seq


class TestStopped:
    def test_one_that_blocks_and_is_stopped_is_waited_for(self) -> None:
        with Topic("t", slots=2) as topic, workers(1) as (worker,):
            worker.do("topic = Topic.open('t'); sub = topic.subscribe('block')")
            worker.stop()
            topic.publish(b"1")
            topic.publish(b"2")
            with pytest.raises(samemap.Full):
                topic.publish(b"3", timeout=0.3)
            worker.resume()
            worker.do("got = bytes(sub.recv(10))")
            assert topic.publish(b"3", timeout=10) == 3

    def test_a_publisher_that_is_stopped_holds_nobody_up(self) -> None:
        with Topic("t", slots=4, max_message=LARGE) as topic, workers(1) as (worker,):
            worker.do("topic = Topic.open('t'); loan = topic.loan(); place = loan.__enter__()")
            worker.stop()
            for number in range(1, 20):
                assert topic.publish(whole(number), timeout=10) == number
            worker.resume()
            worker.do("del place; loan.__exit__(None, None, None)")
            assert topic.seq == 20


class TestForks:
    def test_a_child_goes_on_as_a_subscription_of_its_own(self) -> None:
        with Topic("t", slots=8) as topic:
            subscription = topic.subscribe("block")
            topic.publish(b"1")
            child = os.fork()
            if child == 0:
                got = [subscription.recv(10).value for _ in range(2)]
                os._exit(0 if got == [b"1", b"2"] else 1)
            until(lambda: len(topic.subscribers()) == 2, "the child has not subscribed")
            topic.publish(b"2")
            assert [subscription.recv(10).value for _ in range(2)] == [b"1", b"2"]
            assert os.waitpid(child, 0)[1] == 0

    def test_a_child_that_ends_lets_go_of_nothing_of_its_parent_s(self) -> None:
        with Topic("t", max_message=LARGE, slots=4) as topic:
            subscription = topic.subscribe()
            topic.publish(whole(1))
            sample, loan = subscription.recv(), topic.loan()
            place = loan.__enter__()
            child = os.fork()
            if child == 0:
                sample.release()
                del sample, place
                subscription.close()
                topic.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert (topic.stats().loaned, topic.stats().pinned) == (1, 1)
            place[:] = bytes(len(place))
            del place
            loan.__exit__(None, None, None)
            assert topic.seq == 2
            assert bytes(sample) == whole(1)


class TestOthers:
    @pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
    def test_another_user_reads_what_it_may_only_read(self, tmp_path: Path) -> None:
        # pytest's own folder is for its user only.
        path = Path("/dev/shm") / f"samemap-test-{os.getpid()}"
        try:
            with Latest(path, dtype="i8", shape=4, perm=0o644) as latest:
                latest.set([1, 2, 3, 4])
                child = os.fork()
                if child == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                    with Latest.open(path, mode="r", any_owner=True) as theirs:
                        seen = theirs.get().tolist() == [1, 2, 3, 4]
                        newer = theirs.wait_newer(timeout=20).tolist() == [5, 5, 5, 5]
                    os._exit(0 if seen and newer else 1)
                time.sleep(0.05)
                latest.set([5, 5, 5, 5])
                assert os.waitpid(child, 0)[1] == 0
                assert stat.S_IMODE(path.stat().st_mode) == 0o644
        finally:
            path.unlink(missing_ok=True)

    def test_many_publishers_and_many_subscribers(self) -> None:
        with Topic("t", dtype="i8", shape=2, slots=64) as topic, workers(3) as some:
            subscriptions = [topic.subscribe("block") for _ in range(70)]
            for index, each in enumerate(some):
                each.do(
                    f"topic = Topic.open('t'); import threading\n"
                    f"go = threading.Thread(target=lambda: [topic.publish([{index}, n]) for n in range(50)])\n"
                    "go.start()"
                )
            for subscription in subscriptions:
                assert subscription.policy == "block"
            got = {index: [] for index in range(len(subscriptions))}
            while any(len(found) < 150 for found in got.values()):
                for index, subscription in enumerate(subscriptions):
                    if len(got[index]) < 150:
                        got[index] += subscription.recv_many(timeout=20).tolist()
            for found in got.values():
                assert found == got[0]
                assert all([n for who, n in found if who == index] == list(range(50)) for index in range(3))
            assert [found.messages for found in topic.publishers()] == [50, 50, 50]


def test_values_are_never_torn_while_two_write() -> None:
    with Latest("v", dtype="u4", shape=50_000) as latest, workers(2) as some:
        latest.set(np.zeros(50_000, "u4"))
        for each in some:
            each.do(
                "import numpy as np, threading; latest = Latest.open('v')\n"
                "def go():\n"
                "    n = 0\n"
                "    while True: n += 1; latest.set(np.full(50_000, n, 'u4'))\n"
                "threading.Thread(target=go, daemon=True).start()"
            )
        seen = 0
        for _ in range(400):
            value = latest.get()
            assert value.min() == value.max()
            assert latest._seen >= seen
            seen = latest._seen
