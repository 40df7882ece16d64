"""What docs/format.md says of queues and services is so in live ones, and a C program lists the jobs of theirs."""

from __future__ import annotations

import fcntl
import os
import pickle
import struct
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from test_format import Run, Start, in_c, make, offsets, rows, word

from samemap import Queue, Service, _core
from samemap.encodings import BytesCodec
from samemap.pickles import parts_of

#: The kernel's clock ticks that often at least, in nanoseconds.
TICK = 10_000_000
FIELDS = {(structure, field): int(offset) for structure, field, offset, *_ in rows("field", "offset", "size")}
PLAIN, RAW = (int(number) for _, number, *_ in rows("number", "flag"))
MARK, SECOND_MARK = 1 << 31, 1 << 30
CONSTANTS = {name: int(value.replace("_", ""), 0) for _, name, value, *_ in rows("constant", "value")}
SERVER_OFFSET = CONSTANTS["SERVER_OFFSET"]


class Listed(NamedTuple):
    """A job as the C program prints it."""

    number: int
    phase: str
    attempt: int
    holder: int
    origin: int
    lane: int
    flags: int
    put: int
    length: int
    text: str


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs the C program that lists jobs."""
    return in_c("jobs", tmp_path_factory.mktemp("jobs"))


def listed(lines: list[str]) -> list[Listed]:
    """Return the jobs that it listed, the oldest first."""
    found = [line.split(" ", 10)[1:] for line in lines if line.startswith("job ")]
    return sorted(
        Listed(int(number), phase, *map(int, others[:7]), text=others[7])  # type: ignore[arg-type, misc]
        for number, phase, *others in found
    )


def depth(lines: list[str]) -> int:
    assert lines[-1].startswith("depth ")
    return int(lines[-1].split(" ")[1])


def poke(path: Path, offset: int, value: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value.to_bytes(8, "little"))


class Words:
    """The words of a queue, by the document."""

    def __init__(self, segment: _core.Segment) -> None:
        self.segment = segment
        small = {name: word(segment, FIELDS["Queue", name]) for name in ("maxsize", "jobs", "lanes", "workers", "cell")}
        large = {name: word(segment, FIELDS["Queue", name], "Q") for name in ("blocks", "block_size")}
        self.numbers = {**small, **large, "block": large["block_size"], "participants": small["workers"]}
        _, self.lanes, self.workers, self.jobs, self.words, self.blocks, self.cells, self.heap = offsets(
            segment.kind, **self.numbers
        )

    def queue(self, field: str, code: str = "I") -> int:
        return word(self.segment, FIELDS["Queue", field], code)

    def lane(self, index: int, field: str) -> int:
        return word(self.segment, self.lanes + 192 * index + FIELDS["Lane", field], "Q")

    def worker(self, tag: int, field: str) -> int:
        at = self.workers + 128 * ((tag & 1023) - 1) + FIELDS["Worker", field]
        return word(self.segment, at, "I" if field == "tag" else "Q")

    def at_job(self, place: int, field: str) -> int:
        return self.jobs + 128 * place + FIELDS["Job", field]

    def job(self, place: int, field: str) -> int:
        return word(self.segment, self.at_job(place, field), "Q")

    def ring(self, index: int) -> tuple[int, int]:
        """Return the number in a word of the rings, and the place."""
        found = word(self.segment, self.words + 8 * index, "Q")
        return found >> 20, found & 0xFFFFF

    def block(self, index: int) -> int:
        return word(self.segment, self.blocks + 8 * index, "Q")

    def bytes(self, start: int, length: int) -> bytes:
        return os.pread(self.segment.fileno(), length, self.segment.body + start)


def queue_over(segment: _core.Segment) -> _core.Queue:
    return _core.Queue(segment, BytesCodec(), "bytes")


def state(generation: int, attempt: int, who: int) -> int:
    return generation << 40 | attempt << 32 | who


class TestAQueueIsAsTheDocumentSays:
    def test_while_a_job_goes_through_it(self) -> None:
        segment = make(None, "Queue", 11, 100_000, 2)
        queue = queue_over(segment)
        words = Words(segment)
        (me,) = segment.participants()
        names = ("maxsize", "lanes", "ring", "workers", "max_attempts", "once", "cell", "shut", "returned")
        assert [words.queue(name) for name in names] == [11, 1, 16, 8, 2, 0, 128, 0, 0]
        assert words.heap + words.numbers["blocks"] * words.numbers["block"] == segment.size - segment.body
        assert (words.lane(0, "head"), words.lane(0, "next"), words.lane(0, "owner")) == (1, 1, 0)

        # One in a cell, and one in blocks.
        before = time.time_ns()
        queue.put(b"small")
        queue.put(b"large" * 1000)
        # It is behind, and says of every sixteenth.
        assert words.lane(0, "next") == 1
        (number, small), (other, large) = words.ring(1), words.ring(2)
        assert (number, other) == (1, 2)
        # It waits, because the ring names it.
        assert words.job(small, "state") == state(0, 0, me._tag)
        assert [words.job(small, field) for field in ("seq", "length", "run", "route", "reply")] == [1, 5, 0, 0, 0]
        assert words.job(small, "origin") == 0 << 32 | me._tag
        assert before - TICK <= words.job(small, "put") <= time.time_ns()
        assert words.bytes(words.cells + 128 * small, 5) == b"small"
        first, count = words.job(large, "run") & 0xFFFFFFFF, words.job(large, "run") >> 32
        assert (count, words.job(large, "length")) == (2, 5000)
        assert [words.block(first + index) for index in range(3)] == [large + 1, large + 1, 0]
        assert words.bytes(words.heap + words.numbers["block"] * first, 5000) == b"large" * 1000
        assert (words.worker(me._tag, "puts"), words.worker(me._tag, "bytes")) == (2, 5005)
        assert words.worker(me._tag, "tag") == me._tag

        # It is taken, given back, taken with a time, and buried.
        job = queue.lease(0)
        assert words.job(small, "state") == state(0, 1, MARK | me._tag)
        assert words.lane(0, "head") == 2
        assert (words.job(small, "until"), words.worker(me._tag, "leases")) == (0, 1)
        job.give_back()
        assert words.job(small, "state") == state(0, 1, MARK)
        assert (words.queue("returned"), words.worker(me._tag, "returned")) == (1, 1)
        job = queue.lease(0, lease_time=1000)
        assert (job.seq, words.job(small, "state")) == (1, state(0, 2, MARK | me._tag))
        assert words.job(small, "until") & 255 == 2
        assert 990e9 < words.job(small, "until") - time.monotonic_ns() <= 1000e9
        job.give_back()
        assert words.job(small, "state") == state(0, 2, MARK | SECOND_MARK)

        # The other is got for good, and its blocks are free.
        assert queue.get() == b"large" * 1000
        assert words.job(large, "state") == state(1, 0, 0)
        assert [words.block(first + index) for index in range(2)] == [0, 0]
        assert (words.worker(me._tag, "gets"), words.worker(me._tag, "done")) == (1, 0)
        queue.task_done()
        assert words.worker(me._tag, "done") == 1
        queue.put(b"again")
        place = words.ring(3)[1]
        queue.lease(0).done()
        assert words.worker(me._tag, "acknowledged") == 1
        assert words.job(place, "state") == state(words.job(place, "origin") >> 32, 0, 0) + (1 << 40)
        queue.shutdown()
        assert words.queue("shut") == 1

    def test_while_somebody_looks_at_what_was_given_back(self) -> None:
        queue = Queue(maxsize=4)
        words = Words(queue._segment)
        (me,) = queue.participants()
        array = memoryview(bytearray(range(200)) * 100)
        queue.put(pickle.PickleBuffer(array))
        place = words.ring(1)[1]
        job = queue.lease(0)
        view = job.value
        assert bytes(view) == bytes(array)
        assert words.job(place, "keeper") == 0
        job.give_back()
        assert words.job(place, "state") == state(0, 1, MARK)
        assert words.job(place, "keeper") == me._tag
        del view, job
        assert words.job(place, "keeper") == 0

    @pytest.mark.parametrize(
        ("value", "flags", "message"),
        [
            (b"raw", RAW, b"raw"),
            ({"a": 1}, PLAIN, pickle.dumps({"a": 1}, protocol=5)),
            (pickle.PickleBuffer(b"beside it"), 0, b"".join(parts_of(pickle.PickleBuffer(b"beside it")))),
        ],
        ids=["bytes", "a pickle", "a pickle with buffers"],
    )
    def test_in_what_it_says_of_messages(self, value: object, flags: int, message: bytes) -> None:
        queue = Queue(maxsize=4)
        words = Words(queue._segment)
        queue.put(value)
        place = words.ring(1)[1]
        assert words.job(place, "route") == flags << 16
        assert words.bytes(words.cells + 128 * place, words.job(place, "length")) == message

    def test_and_a_service(self) -> None:
        segment = make(None, "Service", 4, 100_000, 0)
        service = _core.Service(segment, BytesCodec(), "bytes", BytesCodec(), "bytes")
        words = Words(segment)
        (me,) = segment.participants()
        assert (words.queue("lanes"), words.queue("once")) == (129, 1)
        assert words.heap + words.numbers["blocks"] * words.numbers["block"] == segment.size - segment.body
        call = service._call(b"question")
        (lane,) = [lane for lane in range(129) if words.lane(lane, "owner")]
        assert lane > 0
        assert words.lane(lane, "owner") == 1 << 32 | me._tag
        asked = words.ring(1)[1]
        assert words.job(asked, "reply") == 1 << 32 | lane
        request = service._take(0)
        assert request.reply(7, b"answer")
        number, answered = words.ring(8 + 16 * (lane - 1) + 1)
        assert number == 1
        assert words.job(answered, "route") == 1 << 32 | 7 << 16 | lane
        assert words.lane(lane, "next") == 2
        request.done()
        assert call.recv(0) == (7, b"answer")
        assert words.lane(lane, "head") == 2
        call.cancel()
        assert words.lane(lane, "owner") == 1 << 32


SERVER = """
import sys
from samemap import Service
with Service(sys.argv[1], str.upper):
    print("ready", flush=True)
    sys.stdin.read()
"""
PRODUCER = """
import itertools, sys
from samemap import Queue
queue = Queue.open(sys.argv[1])
print("ready", flush=True)
for number in itertools.count(1):
    queue.put(f"{number};".encode() * (number * 7919 % 6000 + 1))
"""
CONSUMER = """
import sys
from samemap import Queue
queue = Queue.open(sys.argv[1])
while True:
    with queue.lease() as job:
        bytes(job.value)
"""


class TestAProgramInCSeesJobs:
    @pytest.mark.parametrize("kind", ["Queue", "Service"])
    @pytest.mark.parametrize(("maxsize", "size"), [(1, 0), (8, 4096), (9, 100_000), (5000, 100_000_000)])
    def test_finds_everything_where_the_document_says(
        self, jobs: Run, tmp_path: Path, kind: str, maxsize: int, size: int
    ) -> None:
        path = tmp_path / "queue"
        segment = make(path, kind, maxsize, size, 0, participants=5)
        lines = jobs(path)
        found = dict(line.split(" ") for line in lines[:7])
        words = Words(segment)
        told = [words.lanes, words.workers, words.jobs, words.words, words.blocks, words.cells, words.heap]
        names = ["lanes", "workers", "jobs", "words", "blocks", "cells", "heap"]
        assert [int(found[name]) for name in names] == told
        assert (listed(lines), depth(lines)) == ([], 0)

    def test_lists_what_waits_and_what_does_not(self, jobs: Run, tmp_path: Path) -> None:
        path = tmp_path / "queue"
        with Queue(path, codec="bytes", max_attempts=3) as queue:
            (me,) = queue.participants()
            before = time.time_ns()
            for text in (b"leased", b"back", b"dead", b"x" * 5000, b""):
                queue.put(text)
            leases = [queue.lease() for _ in range(3)]
            leases[1].give_back()
            leases[2].bury()
            lines = jobs(path)
            assert depth(lines) == queue.qsize() == 3
            found = listed(lines)
            assert [(job.number, job.phase, job.attempt, job.text) for job in found] == [
                (1, "leased", 1, "leased"),
                (2, "ready", 1, "back"),
                (3, "dead", 1, "dead"),
                (4, "ready", 0, "x" * 5000),
                (5, "ready", 0, ""),
            ]
            assert [job.holder for job in found] == [me._tag, 0, 0, 0, 0]
            assert [job.length for job in found] == [6, 4, 4, 5000, 0]
            assert {(job.origin, job.lane, job.flags) for job in found} == {(me._tag, 0, 0)}
            # As of the last tick of the kernel's clock.
            assert all(before - TICK <= job.put <= time.time_ns() for job in found)
            leases[0].done()
            assert [queue.get() for _ in range(3)] == [b"back", b"x" * 5000, b""]
            lines = jobs(path)
            assert ([job.text for job in listed(lines)], depth(lines)) == (["dead"], 0)

    def test_sees_requests_and_replies(self, jobs: Run, tmp_path: Path) -> None:
        path = tmp_path / "service"
        segment = make(path, "Service", 4, 100_000, 0)
        service = _core.Service(segment, BytesCodec(), "bytes", BytesCodec(), "bytes")
        calls = [service._call(b"first"), service._call(b"second")]
        request = service._take(0)
        request.reply(7, b"part")
        lines = jobs(path)
        found = {job.text: job for job in listed(lines)}
        assert {text: job.phase for text, job in found.items()} == {
            "first": "leased",
            "second": "ready",
            "part": "ready",
        }
        assert found["part"].lane > 0
        assert found["part"].flags == 7
        assert depth(lines) == service.qsize() == 1
        for call in calls:
            call.cancel()
        request.done()
        assert listed(jobs(path)) == []

    def test_sees_who_serves(self, jobs: Run, tmp_path: Path, start: Start) -> None:
        path = tmp_path / "service"

        def servers() -> list[int]:
            return sorted(int(line.split(" ")[1]) for line in jobs(path) if line.startswith("server "))

        with Service(path) as looking:
            assert servers() == []
            # Twice in this process, and in others.
            with Service(path, str.upper), Service(path, str.upper):
                others = [start(path, source=SERVER) for _ in range(3)]
                for each in others:
                    assert each.stdout is not None
                    assert each.stdout.readline() == "ready\n"
                everybody = sorted([os.getpid(), *(each.pid for each in others)])
                assert servers() == everybody
                for each in others:
                    question = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, SERVER_OFFSET + each.pid, 1, 0)
                    with path.open("rb") as file:
                        answer = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, question))
                    assert answer[0] == fcntl.F_RDLCK
                others[1].kill()
                others[1].wait()
                everybody.remove(others[1].pid)
                assert servers() == everybody
            everybody.remove(os.getpid())
            assert servers() == everybody
            assert looking.stats().servers == len(everybody)
            for each in (others[0], others[2]):
                each.kill()
                each.wait()
            assert servers() == []

    @pytest.mark.parametrize("at", ["the ring", "before the ring", "before the number"])
    def test_counts_a_job_from_the_ring_on(self, jobs: Run, tmp_path: Path, at: str) -> None:
        # As a producer leaves it that was stopped just after the ring, or at one of the steps before it.
        path = tmp_path / "queue"
        with Queue(path, codec="bytes") as queue:
            words = Words(queue._segment)
            (me,) = queue.participants()
            queue.put(b"text")
            place = words.ring(1)[1]
            start = queue._segment.body
            generation = 1 if at == "before the number" else 0
            poke(path, start + words.at_job(place, "state"), state(generation, 0, me._tag))
            if at == "before the ring":
                poke(path, start + words.words + 8, 0)
            lines = jobs(path)
            assert depth(lines) == queue.qsize() == int(at == "the ring")
            (found,) = listed(lines)
            assert (found.phase, found.holder) == (("ready", 0) if at == "the ring" else ("filling", me._tag))
            assert (found.number, found.text) == ((1, "text") if at == "the ring" else (0, ""))

    def test_what_it_reads_is_whole_while_jobs_come_and_go(self, jobs: Run, tmp_path: Path, start: Start) -> None:
        # Few blocks, which are soon those of other jobs.
        path = tmp_path / "queue"
        with Queue(path, codec="bytes", maxsize=4, max_bytes=40_000) as queue:
            producer = start(path, source=PRODUCER)
            assert producer.stdout is not None
            assert producer.stdout.readline() == "ready\n"
            consumer = start(path, source=CONSUMER)
            tags = {found.pid: found._tag for found in queue.participants()}
            seen: set[int] = set()
            for _ in range(300):
                lines = jobs(path)
                assert 0 <= depth(lines) <= 4
                for job in listed(lines):
                    if job.phase in ("ready", "leased"):
                        assert job.origin == tags[producer.pid]
                        assert job.text == f"{job.number};" * (job.number * 7919 % 6000 + 1)
                        seen.add(job.number)
            assert len(seen) > 100
            for process in (producer, consumer):
                process.kill()
                process.wait()

    def test_refuses_what_python_refuses(self, jobs: Run, tmp_path: Path) -> None:
        path = tmp_path / "queue"
        make(path, "Queue", 8, 100_000, 0).close()
        whole = path.read_bytes()
        body = int.from_bytes(whole[96:104], "little")
        changes = [
            ("maxsize", 4, 0),
            ("maxsize", 4, 9),
            ("maxsize", 4, 137),
            ("jobs", 4, 7),
            ("jobs", 4, (1 << 20) + 1),
        ]
        changes += [("jobs", 4, 1 << 20), ("lanes", 4, 0), ("lanes", 4, 130), ("lanes", 4, 129), ("ring", 4, 16)]
        changes += [("workers", 4, 9), ("cell", 4, 100), ("cell", 4, 0xFFFFFFC0), ("blocks", 8, 26)]
        changes += [("blocks", 8, 1 << 32), ("block_size", 8, 0), ("block_size", 8, 4097), ("block_size", 8, 1 << 62)]
        for field, size, value in changes:
            at = body + FIELDS["Queue", field]
            path.write_bytes(whole[:at] + value.to_bytes(size, "little") + whole[at + size :])
            assert jobs(path) == ["refused shape"], (field, value)
            segment = _core.Segment(str(path), "open", None, [0, 0, 0], 8, "", 0o600, True, False, False, -1)
            with pytest.raises(_core.SegmentMismatch, match="its shape is "):
                queue_over(segment)
            segment.close()
