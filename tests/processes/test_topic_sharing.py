"""Topics and newest values that other processes have: by whatever way they got them, and whoever they are."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import resource_sharer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import topic_children
from isolated import NOBODY, succeed, truncate, until
from kinds import KINDS, same
from workers import Worker, workers

from samemap import Empty, Event, Full, Latest, SegmentTruncated, Topic

LARGE = 50_000


class TestTravel:
    @pytest.fixture(params=["fork", "spawn", "forkserver"])
    def context(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        yield multiprocessing.get_context(request.param)
        # It hands out descriptors from a thread, which must not outlive the test.
        resource_sharer.stop(timeout=60)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
    @pytest.mark.parametrize("name", [None, "shared"])
    def test_children_get_the_same_ones(self, context: Any, name: str | None) -> None:
        def called(what: str, kind: str) -> str | None:
            return name and f"{name}-{what}-{kind}"

        messages = {kind: message for kind, (_, message) in KINDS.items()}
        with ExitStack() as ends, Event(name and "ready") as ready:
            feeds, values = {}, {}
            for kind, (made, _) in KINDS.items():
                feeds[kind] = ends.enter_context(Topic(called("topic", kind), **made, when_full="raise"))
                values[kind] = ends.enter_context(Latest(called("latest", kind), **made))
            child = context.Process(target=topic_children.echo, args=(feeds, messages, values, ready))
            child.start()
            assert ready.wait(60)
            subscriptions = {kind: feed.subscribe() for kind, feed in feeds.items()}
            for kind, feed in feeds.items():
                assert feed.publish(messages[kind]) == 1
            for kind, subscription in subscriptions.items():
                assert subscription.recv(60).publisher.pid == os.getpid()
                echoed = subscription.recv(60)
                assert same(echoed.value, messages[kind])
                assert echoed.publisher.pid == child.pid
            for kind, value in values.items():
                value.set(messages[kind])
                value.get()
                assert same(value.wait_newer(1, 60), messages[kind])
            child.join(60)
            assert child.exitcode == 0
            child.close()
            assert [len(feed.subscribers()) for feed in feeds.values()] == [1] * len(feeds)

    def test_a_stranger_gets_them_over_a_socket_and_keeps_them(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(60)
            succeed(
                """
                import socket, sys
                from samemap import Latest, Topic
                with socket.socket(fileno=int(sys.argv[1])) as sock:
                    feed, value = Topic(codec="pickle"), Latest(shape=3, dtype="u1")
                    feed.publish({"left": "behind"})
                    value.set([1, 2, 3])
                    feed.send_handle(sock)
                    value.send_handle(sock)
                """,
                theirs.fileno(),
                pass_fds=[theirs.fileno()],
            )
            with Topic.recv_handle(ours, codec="pickle") as feed, Latest.recv_handle(ours) as value:
                (sample,) = feed.last()
                assert (sample.value, value.get().tolist(), feed.stats().participants) == (
                    {"left": "behind"},
                    [1, 2, 3],
                    1,
                )
                # Who it was is told though it has left, as long as its place is nobody else's.
                assert sample.publisher is None or not sample.publisher.alive
                assert feed.publish(1) == 2

    def test_subscribers_come_first_and_get_all(self) -> None:
        with workers(3) as readers:
            for reader in readers:
                reader.tell("feed = Topic.open('feed', wait=60); subscription = feed.subscribe('block')")
            with Topic.create("feed", shape=2, dtype="i8", slots=4) as feed:
                for reader in readers:
                    reader.answer()
                assert feed.wait_for_subscribers(3, 60)
                for reader in readers:
                    reader.tell("[subscription.recv(60).array.tolist() for _ in range(100)]")
                for n in range(100):
                    feed.publish([n, -n])
                assert all(reader.answer() == [[n, -n] for n in range(100)] for reader in readers)


class TestMany:
    def test_processes_publish_to_many_processes(self) -> None:
        # 3 publishers, 4 processes with 16 subscriptions each, of all policies.
        each, publish = 120, "[feed.publish([{me}, n]) for n in range({each})]"
        read = """
def read():
    got = [[] for _ in subscriptions]
    while True:
        waiting = [s for s in subscriptions if s.received + s.missed < 3 * EACH]
        if not waiting:
            return [(s.policy, found, s.missed) for s, found in zip(subscriptions, got)]
        for ready in wait(waiting, 60):
            sample = ready.poll()
            if sample is not None:
                got[subscriptions.index(ready)].append(sample.array.tolist())
""".replace("EACH", str(each))
        subscribe = "subscriptions = [feed.subscribe(('block', 'drop', 'latest', 'drop')[n % 4]) for n in range(16)]"
        make = "feed = Topic('feed', shape=2, dtype='i8', slots=16)"
        with workers(4, f"{make}; {subscribe}") as readers, workers(3, make) as writers:
            feed = Topic.open("feed")
            assert feed.stats().subscribers == 64
            for reader in readers:
                reader.do(read)
                reader.tell("read()")
            for me, writer in enumerate(writers):
                writer.tell(publish.format(me=me, each=each))
            numbers = [number for writer in writers for number in writer.answer(60)]
            assert sorted(numbers) == list(range(1, 3 * each + 1))
            orders = []
            for reader in readers:
                for policy, found, missed in reader.answer(60):
                    assert len(found) + missed == 3 * each
                    for me in range(3):
                        mine = [n for who, n in found if who == me]
                        assert mine == sorted(set(mine))
                    if policy == "block":
                        orders.append(found)
            # All in one order, nothing lost, nothing twice.
            assert all(order == orders[0] for order in orders)
            assert len(orders[0]) == 3 * each
            assert [(found.messages, found.bytes) for found in feed.publishers()] == [(each, 16 * each)] * 3
            feed.close()

    def test_many_publishers_wait_for_few_slots_and_none_is_forgotten(self) -> None:
        with Topic("feed", slots=2) as feed, workers(6, "feed = Topic.open('feed')") as writers:
            subscription = feed.subscribe("block")
            for me, writer in enumerate(writers):
                writer.tell(f"[feed.publish(b'%d %d' % ({me}, n)) for n in range(50)] and None")
            got = [tuple(map(int, subscription.recv(60).value.split())) for _ in range(300)]
            for me, writer in enumerate(writers):
                writer.answer(60)
                assert [n for who, n in got if who == me] == list(range(50))
            assert (feed.stats().waiting, feed.stats().loaned) == (0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
class TestOtherUsers:
    # Who cannot read the interpreter's own modules must have them before.
    BECOME_NOBODY = (
        "import json, os, pathlib, samemap; [Topic(shape=1).close(), Latest(shape=1).close(), samemap.Empty]; "
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    )

    @pytest.fixture(autouse=True)
    def shared(self, runtime_directory: Path) -> Path:
        runtime_directory.chmod(0o755)
        return runtime_directory

    def test_who_may_only_read_follows_a_topic(self, shared: Path) -> None:
        path = str(shared / "feed")
        with Topic(path, max_message=LARGE, perm=0o644) as feed, Worker(self.BECOME_NOBODY) as other:
            with pytest.raises(PermissionError):
                other.do(f"Topic.open({path!r})")
            # It is root's, whom everybody trusts.
            other.do(f"feed = Topic.open({path!r}, mode='r'); subscription = feed.subscribe()")
            # It takes no place, and holds nobody up.
            assert feed.stats().participants == 1
            other.tell("(sample := subscription.recv(60)).seq, len(sample), sample.pinned, bytes(sample)[-1:]")
            feed.publish(b"x" * LARGE)
            assert other.answer() == (1, LARGE, False, b"x")
            for _ in range(20):
                feed.publish(b"y", timeout=0)
            assert other.do("[(s.seq, s.missed) for s in iter(subscription.poll, None)][:2]") == [(14, 12), (15, 0)]
            assert other.do("[s.seq for s in feed.last(3)], feed.stats().messages") == ([19, 20, 21], 21)
            with pytest.raises(TypeError, match="read-only"):
                other.do("feed.publish(b'x')")

    def test_who_may_write_too_takes_part(self, shared: Path) -> None:
        path = str(shared / "feed")
        with Topic(path, perm=0o666) as feed, Worker(self.BECOME_NOBODY) as other:
            other.do(f"feed = Topic.open({path!r}); subscription = feed.subscribe('block')")
            feed.publish(b"ping")
            assert other.do("feed.publish(subscription.recv(60).value + b' pong')") == 2
            assert feed.last()[-1].value == b"ping pong"
            assert [someone.user for someone in feed.participants()] == [0, NOBODY]

    def test_who_may_only_read_gets_values(self, shared: Path) -> None:
        path = str(shared / "value")
        with Latest(path, shape=3, dtype="i8", perm=0o644) as value, Worker(self.BECOME_NOBODY) as other:
            other.do(f"value = Latest.open({path!r}, mode='r')")
            with pytest.raises(Empty):
                other.do("value.get()")
            other.tell("value.wait_newer(timeout=60).tolist()")
            value.set([1, 2, 3])
            assert other.answer() == [1, 2, 3]


class TestFlightRecorder:
    def test_what_was_said_last_is_there_when_all_are_dead(self, runtime_directory: Path) -> None:
        make = "feed = Topic('feed', slots=5, max_message=50_000); subscription = feed.subscribe()"
        with workers(3, make) as some:
            for turn in range(4):
                for me, worker in enumerate(some):
                    worker.do(f"feed.publish(b'{turn} {me}' + bytes(40_000))")
            some[0].do("kept = subscription.recv(), feed.loan()")
            pids = [worker.pid for worker in some]
            for worker in some:
                worker.killed()
        before = (runtime_directory / "feed").read_bytes()
        with Topic.open("feed", mode="r") as feed:
            samples = feed.last()
            # The oldest is pinned, and the loan has taken the place of the next.
            assert [sample.value[:3] for sample in samples] == [b"2 1", b"3 0", b"3 1", b"3 2"]
            assert [(sample.publisher.pid, sample.publisher.alive) for sample in samples[-3:]] == [
                (pid, False) for pid in pids
            ]
            assert [(found.alive, found.messages) for found in feed.publishers()] == [(False, 4)] * 3
            assert [found.alive for found in feed.subscribers()] == [False] * 3
            assert (feed.stats().participants, feed.stats().subscribers) == (0, 0)
        assert (runtime_directory / "feed").read_bytes() == before
        # And whoever opens it to write goes on from there.
        with Topic.open("feed") as feed:
            assert feed.publish(b"next", timeout=10) == 13


class TestTruncation:
    """The file is cut under those who use it."""

    @pytest.mark.parametrize("size", [0, 5000])
    def test_is_an_error_and_no_crash(self, size: int, runtime_directory: Path) -> None:
        with workers(1, f"feed = Topic('feed', max_message={LARGE}); subscription = feed.subscribe('block')") as (it,):
            it.do(f"[feed.publish(b'x' * {LARGE}) for _ in range(2)]; sample = subscription.recv()")
            it.do("import asyncio")
            it.do("view, array, loan = memoryview(sample), sample.array, feed.loan(9); place = loan.__enter__()")
            truncate(runtime_directory / "feed", size)
            # What only looks at memory cannot raise: it reads zeros.
            assert it.do("(bytes(view[:5]), int(array[:100].sum()))") in ((bytes(5), 0), (b"xxxxx", 100 * ord("x")))
            it.do("place[:] = b'123456789'")
            for use in (
                "subscription.recv(5)",
                "subscription.recv_many(timeout=5)",
                "loan.__exit__(None, None, None)",
                "feed.publish(b'x', 5)",
                "feed.loan(1, 5)",
                "feed.subscribe()",
                "wait([subscription], 5)",
                "asyncio.run(subscription.recv_async(5))",
            ):
                with pytest.raises(SegmentTruncated):
                    it.do(use)
            it.do("sample.release(); del view, array, place, sample; subscription.close(); feed.close()")

    def test_ends_all_waits(self, runtime_directory: Path) -> None:
        make = "import asyncio; feed = Topic('feed', slots=2); value = Latest('value')"
        waits = {
            "subscription.recv(60)": "feed",
            "list(subscription)": "feed",
            "feed.publish(b'3', 60)": "feed",
            "feed.wait_for_subscribers(99, 60)": "feed",
            "wait([subscription], 60)": "feed",
            "asyncio.run(subscription.recv_async(60))": "feed",
            "value.wait_newer(timeout=60)": "value",
        }
        with Topic("feed", slots=2) as feed, Latest("value") as value, workers(len(waits), make) as some:
            blocking = feed.subscribe("block")
            feed.publish(b"1")
            feed.publish(b"2")
            for worker, (source, name) in zip(some, waits.items(), strict=True):
                worker.do("subscription = feed.subscribe()")
                worker.wait_in(source, feed if name == "feed" else value)
            truncate(runtime_directory / "feed", 0)
            truncate(runtime_directory / "value", 0)
            for worker in some:
                with pytest.raises(SegmentTruncated):
                    worker.answer(10)
            with pytest.raises(SegmentTruncated):
                blocking.recv(0)


class TestFullFileSystem:
    @pytest.fixture
    def full(self, tmp_path: Path) -> Iterator[Path]:
        if os.geteuid() != 0:
            pytest.skip("mounting a small tmpfs needs root")
        path = tmp_path / "tmpfs"
        path.mkdir()
        line = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"this machine permits no mount: {done.stderr.strip()}")
        yield path
        subprocess.run(["umount", "-l", str(path)], check=True)

    @pytest.mark.parametrize("how", [Topic, Topic.create])
    def test_what_has_no_room_is_not_made(self, full: Path, how: Callable[..., Topic]) -> None:
        with pytest.raises(OSError, match="No space left") as caught:
            how(full / "feed", shape=(1000, 1000), dtype="u1", slots=8)
        assert str(full / "feed") in str(caught.value)
        assert list(full.iterdir()) == []
        # All memory is there from the beginning: nobody who publishes can run out of it.
        with how(full / "feed", shape=(1000, 1000), dtype="u1", slots=3) as feed:
            (full / "rest").write_bytes(bytes(os.statvfs(full).f_bavail * os.statvfs(full).f_frsize))
            for n in range(9):
                feed.publish(np.full((1000, 1000), n, "u1"))
            assert [sample.array.max() for sample in feed.last()] == [6, 7, 8]


def test_more_processes_than_places_is_a_clear_error() -> None:
    with workers(1, "feed = Topic('feed', max_participants=2, slots=2)") as (first,), Topic.open("feed") as feed:
        with Worker() as third:
            with pytest.raises(OSError, match=r"participants"):
                third.do("Topic.open('feed')")
            third.do("feed = Topic.open('feed', mode='r')")
        blocking = feed.subscribe("block")
        first.do("feed.publish_many([b'1', b'2'])")
        with pytest.raises(Full, match=rf"not yet read by pid {os.getpid()} "):
            first.do("feed.publish(b'3', 0)")
        first.killed()
        # The place of the dead is another's.
        with Worker("feed = Topic.open('feed')") as second:
            blocking.recv(0)
            assert second.do("feed.publish(b'3')") == 3
            until(lambda: feed.stats().messages == 3, "the third message")
            assert [found.messages for found in feed.publishers() if found.pid == second.pid] == [1]
