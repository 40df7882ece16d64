"""docs/format.md, include/samemap.h and a live segment say the same.

crates/core/tests/format.rs holds the document to the Rust code; here it is held to what a C compiler makes of the
header, and a C program reads what Python has made.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from isolated import until

from samemap import Latest, Topic, _core
from samemap.encodings import BytesCodec

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "format.md").read_text()
HEADER = ROOT / "include" / "samemap.h"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
COMPILERS = {
    "C11": ["gcc", "-std=c11"],
    "C17, optimised": ["gcc", "-std=c17", "-O2"],
    "C++11": ["g++", "-std=c++11", "-x", "c++"],
    "C++20, optimised": ["g++", "-std=c++20", "-O2", "-x", "c++"],
}
Start = Callable[..., subprocess.Popen[str]]


def build(source: Path, program: Path, *compiler: str) -> Path:
    line = [*compiler, *WARNINGS, f"-I{HEADER.parent}", "-o", str(program), str(source)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return program


def rows(*head: str) -> list[list[str]]:
    """Return the rows of every table whose head begins so: the heading above, then the cells."""
    found, heading, inside = [], "", False
    for line in DOCUMENT.splitlines():
        if line.startswith("#"):
            heading = line.strip("#` ")
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif not inside:
            inside = cells[: len(head)] == list(head)
        elif not line.startswith("| -"):
            found.append([heading, *cells])
    return found


def snake(name: str) -> str:
    """Return a structure's or kind's name as C has it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@pytest.fixture(scope="module", params=COMPILERS.values(), ids=COMPILERS.keys())
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Return what each compiler makes of the header."""
    if shutil.which(request.param[0]) is None:
        pytest.skip(f"{request.param[0]} is missing: apt-get install {request.param[0]}")
    program = tmp_path_factory.mktemp("layout") / "layout"
    build(Path(__file__).parent / "layout.c", program, *request.param)
    done = subprocess.run([program], capture_output=True, text=True, timeout=100, check=True)
    return [line.split() for line in done.stdout.splitlines()]


def test_c_has_every_structure_of_the_document(compiled: list[list[str]]) -> None:
    told = [[name, size, alignment] for _, name, size, alignment, _ in rows("structure", "bytes", "at a multiple of")]
    assert told, "the document has no table of structures"
    built = [line[1:] for line in compiled if line[0] == "structure"]
    assert built == [[f"samemap_{snake(name)}", size, alignment] for name, size, alignment in told]
    named = [in_c for *_, in_c in rows("structure", "bytes", "at a multiple of")]
    assert named == [f"struct {name}" for name, *_ in built]


def test_c_has_every_field_of_the_document(compiled: list[list[str]]) -> None:
    told = [[f"samemap_{snake(row[0])}", *row[1:4]] for row in rows("field", "offset", "size")]
    # In the order of the document, for both are told structure by structure.
    assert [line[1:] for line in compiled if line[0] == "field"] == sorted_as_structures(told)


def sorted_as_structures(fields: list[list[str]]) -> list[list[str]]:
    """Return the fields by structure, in the order of the table of structures."""
    order = [f"samemap_{snake(name)}" for _, name, *_ in rows("structure", "bytes", "at a multiple of")]
    return sorted(fields, key=lambda field: order.index(field[0]))


def test_c_has_every_constant_of_the_document(compiled: list[list[str]]) -> None:
    told = {name: int(value.replace("_", ""), 0) for _, name, value, *_ in rows("constant", "value")}
    assert {name: int(value) for kind, name, value, *_ in compiled if kind == "constant"} == told
    # The program prints those that it knows; the header has no others.
    defined = set(re.findall(r"#define SAMEMAP_(\w+) (?:U?INT|\d)", HEADER.read_text()))
    assert defined == set(told)


def test_c_has_every_kind_of_the_document(compiled: list[list[str]]) -> None:
    told = {snake(name).upper(): number for _, number, name in rows("number", "kind")}
    assert len(told) == len(re.findall(r"SAMEMAP_KIND_\w+ = ", HEADER.read_text()))
    assert {name: value for kind, name, value, *_ in compiled if kind == "kind"} == told


def test_c_has_every_policy_of_the_document(compiled: list[list[str]]) -> None:
    told = {snake(name).upper(): number for _, number, name, _ in rows("number", "policy")}
    assert len(told) == len(re.findall(r"SAMEMAP_POLICY_\w+ = ", HEADER.read_text()))
    assert {name: value for kind, name, value, *_ in compiled if kind == "policy"} == told


@pytest.mark.parametrize("what", ["phase", "flag"])
def test_c_has_every_phase_and_flag_of_a_job_of_the_document(compiled: list[list[str]], what: str) -> None:
    told = {name.upper(): number for _, number, name, *_ in rows("number", what)}
    assert len(told) == len(re.findall(rf"SAMEMAP_{what.upper()}_\w+ = ", HEADER.read_text()))
    assert {name: value for kind, name, value, *_ in compiled if kind == what} == told


@pytest.mark.parametrize(
    "field", ["uint32_t died;", "uint64_t since;", "uint64_t magic;", "uint64_t published;", "uint64_t head;"]
)
def test_a_field_that_moves_does_not_compile(field: str, tmp_path: Path) -> None:
    changed = tmp_path / "samemap.h"
    changed.write_text(HEADER.read_text().replace(field, f"uint16_t moved; {field}", 1))
    line = ["gcc", "-std=c11", "-fsyntax-only", "-x", "c", str(changed)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert "is elsewhere" in done.stderr


def make(path: Path | None, kind: str, *parameters: int, schema: str = "", participants: int = 8) -> _core.Segment:
    numbers = [*parameters, 0, 0, 0][:3]
    how = "anonymous" if path is None else "create"
    return _core.Segment(
        None if path is None else str(path), how, kind, numbers, participants, schema, 0o600, True, False, False, -1
    )


HOLDER = """
import os, signal, sys
from samemap import _core
segment = _core.Segment(sys.argv[1], "open", None, [0, 0, 0], 8, "", 0o600, True, False, False, -1)
lock = _core.Lock(segment, 0, False)
lock.acquire()
(me,) = [found for found in segment.participants() if found.pid == os.getpid()]
print(me._tag, flush=True)
signal.pause()
"""


Run = Callable[..., list[str]]


def in_c(name: str, folder: Path) -> Run:
    """Return a function that runs a C program with arguments, and returns the lines that it printed."""
    program = build(Path(__file__).parent / f"{name}.c", folder / name, "gcc", "-std=c11", "-O2")

    def run(*arguments: object) -> list[str]:
        line = [str(program), *map(str, arguments)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)
        assert (done.returncode in (0, 3), done.stderr) == (True, ""), done
        return done.stdout.splitlines()

    return run


@pytest.fixture(scope="module")
def inspect(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs the C program that looks at any segment."""
    return in_c("inspect", tmp_path_factory.mktemp("inspect"))


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs the C program that reads messages."""
    return in_c("newest", tmp_path_factory.mktemp("newest"))


class TestAProgramInC:
    def test_reads_the_header(self, inspect: Run, tmp_path: Path) -> None:
        path = tmp_path / "counter"
        segment = make(path, "Counter", schema='{"unit": "°C"}')
        lines = dict(line.split(" ", 1) for line in inspect(path))
        assert lines["kind"] == "7"
        assert lines["id"] == segment.id
        assert int(lines["size"]) == segment.size == path.stat().st_size
        assert int(lines["body"]) == segment.body
        assert int(lines["creator"]) == segment.creator
        assert int(lines["created"]) / 1e9 == segment.created
        assert lines["schema"] == '{"unit": "°C"}'

    def test_sees_who_lives_and_who_holds_a_lock(self, inspect: Run, tmp_path: Path, start: Start) -> None:
        path = tmp_path / "lock"
        segment = make(path, "Lock")
        lock = _core.Lock(segment, 0, False)
        (me,) = segment.participants()
        assert inspect(path)[-1] == "holder 0 index -1 epoch 0 waiters 0"
        program = tmp_path / "holder.py"
        program.write_text(HOLDER)
        process = start(sys.executable, "-u", program, path)
        assert process.stdout is not None
        tag = int(process.stdout.readline())

        def line(pid: int, tag: int, lives: str, waits: int = 0) -> str:
            (found,) = [found for found in segment.participants() if found.pid == pid]
            return f"participant {tag} pid {pid} {lives} waits {waits} for {found.command}"

        holder = f"holder {tag} index {(tag & 1023) - 1} epoch {tag >> 10} waiters "
        lines = inspect(path)
        assert line(me.pid, me._tag, "lives") in lines
        assert line(process.pid, tag, "lives") in lines
        assert line(process.pid, tag, "lives").endswith(f"{sys.executable} -u {program} {path}"[:64])
        assert lines[-1] == f"{holder}0"

        process.send_signal(signal.SIGSTOP)
        assert line(process.pid, tag, "lives") in inspect(path), "a stopped process lives"
        waiter = threading.Thread(target=lock.acquire)
        waiter.start()
        until(lambda: inspect(path)[-1] == f"{holder}1", "the waiter's mark")
        until(lambda: line(me.pid, me._tag, "lives", waits=1) in inspect(path), "the waiter")
        process.kill()
        process.wait()
        waiter.join(30)
        lines = inspect(path)
        assert line(process.pid, tag, "dead") in lines, "the dead are listed until somebody takes their place"
        assert lines[-1].startswith(f"holder {me._tag} ")
        lock.release()
        segment.close()

    def test_refuses_what_python_refuses(self, inspect: Run, tmp_path: Path) -> None:
        path = tmp_path / "lock"
        make(path, "Lock").close()
        whole = path.read_bytes()
        checks = {
            "magic": (0, 8, 0),
            "version": (8, 4, 2),
            "kind": (12, 4, 99),
            "features": (16, 8, 1 << 40),
            "fingerprint": (24, 8, 5),
            "size": (64, 8, len(whole) + 1),
            "participants": (84, 4, 1024),
            "roster": (88, 8, 4097),
            "body": (96, 8, (1 << 64) - 64),
            "schema_size": (116, 4, 3969),
        }
        for field, (offset, size, value) in checks.items():
            path.write_bytes(whole[:offset] + value.to_bytes(size, "little") + whole[offset + size :])
            assert inspect(path) == [f"refused {field}"]
            with pytest.raises(_core.SegmentMismatch, match=f"its {field} is "):
                _core.Segment(str(path), "open", None, [0, 0, 0], 8, "", 0o600, True, False, False, -1)


PUBLISHER = """
import itertools, sys
from samemap import Topic
topic = Topic.open(sys.argv[1])
print("ready", flush=True)
for number in itertools.count(1):
    topic.publish(f"{number};".encode() * (number * 7919 % 6000 + 1))
"""


def offsets(kind: str, **numbers: int) -> list[int]:
    """Return where the document says that the parts of a body begin, for a topic or a queue of these numbers."""
    if "slots" in numbers:
        told = {"ring": max(8, 1 << (numbers["slots"] - 1).bit_length()), "stride": -(-numbers["slot_size"] // 64) * 64}
    else:
        ring = max(8, 1 << (numbers["maxsize"] - 1).bit_length())
        told = {"words": ring + 16 * (numbers["lanes"] - 1), "claims": -(-numbers["blocks"] // 8) * 8}
    values = {**told, **numbers}
    formulas = [where for _, of, where, *_ in rows("body of", "from byte", "part") if of == kind]
    return [
        sum(
            math.prod(
                values[factor] if factor in values else int(factor)
                for factor in term.split(" \N{MULTIPLICATION SIGN} ")
            )
            for term in formula.split(" + ")
        )
        for formula in formulas
    ]


class TestAProgramInCReadsMessages:
    @pytest.mark.parametrize("kind", ["Topic", "Latest"])
    @pytest.mark.parametrize(("slots", "size", "subscribers"), [(2, 0, 0), (8, 64, 1), (9, 65, 3), (100, 1000, 128)])
    def test_finds_everything_where_the_document_says(
        self, newest: Run, tmp_path: Path, kind: str, slots: int, size: int, subscribers: int
    ) -> None:
        path = tmp_path / "topic"
        segment = make(path, kind, slots, size, subscribers, participants=5)
        found = dict(line.split(" ") for line in newest(path, 0))
        told = offsets(kind, slots=slots, slot_size=size, subscribers=subscribers, participants=5)
        names = ["publishers", "subscribers", "slots", "ring", "payloads"]
        assert [int(found[name]) for name in names] == told[1:]
        assert int(found["payloads"]) + int(found["stride"]) * slots == segment.size - segment.body

    def test_copies_are_whole_while_they_are_published(self, newest: Run, tmp_path: Path, start: Start) -> None:
        # Two slots: each message is written over the last but one, while that may be read.
        with Topic(tmp_path / "topic", slots=2) as topic:
            before = time.time_ns()
            publisher = start(tmp_path / "topic", source=PUBLISHER)
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == "ready\n"
            (tag,) = [found._tag for found in topic.participants() if found.pid == publisher.pid]
            lines = [line.split(" ") for line in newest(tmp_path / "topic", 1000)]
            messages = [fields for name, *fields in lines if name == "message"]
            assert len(messages) == 1000
            numbers = [int(number) for number, *_ in messages]
            assert numbers == sorted(set(numbers))
            for number, by, published, length, text in messages:
                assert (int(by), int(length)) == (tag, len(text))
                assert before <= int(published) <= time.time_ns()
                assert text == f"{number};" * (int(number) * 7919 % 6000 + 1), f"message {number} is torn"
            publisher.kill()
            publisher.wait()
            (last,) = topic.last(1)
            *_, (_, number, _, _, _, text), _ = [line.split(" ") for line in newest(tmp_path / "topic", 1)]
            assert (int(number), text.encode()) == (last.seq, last.value)

    def test_reads_a_newest_value(self, newest: Run, tmp_path: Path) -> None:
        with Latest(tmp_path / "latest") as latest:
            for value in (b"on", b"off"):
                latest.set(value)
            lines = newest(tmp_path / "latest", 1)
            assert lines[-2].startswith("message 2 ")
            assert lines[-2].endswith(" 3 off")

    @pytest.mark.parametrize("told", [1, 9, 20, 21])
    def test_finds_the_newest_that_nobody_has_told_of(self, newest: Run, tmp_path: Path, told: int) -> None:
        # As publishers leave it that were stopped, or died, between the ring and `next`.
        path = tmp_path / "topic"
        with Topic(path, slots=8) as topic:
            for number in range(20):
                topic.publish(b"%d" % (number + 1))
            with path.open("r+b") as file:
                file.seek(topic._segment.body + 64)
                file.write(told.to_bytes(8, "little"))
            assert (topic.seq, topic.last(1)[0].value) == (20, b"20")
            assert newest(path, 1)[-2].endswith(" 2 20")

    def test_refuses_what_python_refuses(self, newest: Run, tmp_path: Path) -> None:
        path = tmp_path / "topic"
        make(path, "Topic", 8, 100, 4).close()
        whole = path.read_bytes()
        body = int.from_bytes(whole[96:104], "little")
        # Slots, ring, subscriptions, publishers, bytes of a slot.
        changes = [(0, 4, 9), (0, 4, 1), (0, 4, 0), (4, 4, 16), (4, 4, 7), (8, 4, 5), (8, 4, 129), (12, 4, 9)]
        changes += [(16, 8, 1 << 62), (16, 8, (1 << 64) - 1), (16, 8, 129)]
        for offset, size, value in changes:
            at = body + offset
            path.write_bytes(whole[:at] + value.to_bytes(size, "little") + whole[at + size :])
            assert newest(path, 0) == ["refused shape"], (offset, value)
            segment = _core.Segment(str(path), "open", None, [0, 0, 0], 8, "", 0o600, True, False, False, -1)
            with pytest.raises(_core.SegmentMismatch, match="its shape is "):
                _core.Topic(segment, BytesCodec(), True, "wait")
            segment.close()


def word(segment: _core.Segment, offset: int, code: str = "I") -> int:
    """Return a word of the body, as it is in the file."""
    (value,) = struct.unpack(f"<{code}", os.pread(segment.fileno(), struct.calcsize(code), segment.body + offset))
    assert isinstance(value, int)
    return value


class TestMarksAreWhereTheDocumentSays:
    def test_of_an_event(self) -> None:
        segment = make(None, "Event")
        event = _core.Event(segment, 0)
        assert word(segment, 0) == 0
        event.set()
        assert word(segment, 0) == 1 << 2 | 1
        event.clear()
        assert word(segment, 0) == 1 << 2
        assert not event.wait(0)
        assert word(segment, 0) == 1 << 2 | 2
        event.set()
        assert word(segment, 0) == 2 << 2 | 1

    def test_of_a_lock_and_of_its_depth(self) -> None:
        segment = make(None, "RLock")
        lock = _core.RLock(segment, 0, False)
        (me,) = segment.participants()
        lock.acquire()
        lock.acquire()
        assert (word(segment, 0), word(segment, 72)) == (me._tag, 2)
        assert word(segment, 64, "Q") & 0xFFFFFFFF == threading.get_native_id()
        taken: list[bool] = []
        thread = threading.Thread(target=lambda: taken.append(lock.acquire(timeout=0.05)))
        thread.start()
        thread.join(30)
        assert taken == [False]
        assert word(segment, 0) & ~(1 << 30) == me._tag | 1 << 31
        lock.release()
        lock.release()
        assert word(segment, 64, "Q") == 0

    def test_of_permits(self) -> None:
        segment = make(None, "Semaphore", 3, 5, 0)
        semaphore = _core.Semaphore(segment, 0)
        (me,) = segment.participants()
        assert semaphore.acquire()
        assert semaphore.acquire()
        assert [word(segment, offset) for offset in (64, 68, 72, 76, 80)] == [3, 3, 5, 0, 1]
        assert word(segment, 128 + 64 * ((me._tag & 1023) - 1), "Q") == 2 << 32 | me._tag

    def test_of_a_counter(self) -> None:
        segment = make(None, "Counter", -2)
        assert word(segment, 0, "q") == -2
        _core.Counter(segment, 0).add(7)
        assert word(segment, 0, "q") == 5

    def test_of_a_topic(self) -> None:
        segment = make(None, "Topic", 9, 5000, 4, participants=8)
        _, publishers, subscribers, slots, ring, payloads = offsets(
            "Topic", slots=9, slot_size=5000, subscribers=4, participants=8
        )
        at = {(heading, field): int(offset) for heading, field, offset, *_ in rows("field", "offset", "size")}

        def of(structure: str, field: str, start: int, code: str = "Q") -> int:
            return word(segment, start + at[structure, field], code)

        topic = _core.Topic(segment, BytesCodec(), True, "wait")
        (me,) = segment.participants()
        index = (me._tag & 1023) - 1
        assert [of("Topic", field, 0, "I") for field in ("slots", "ring", "subscribers", "publishers")] == [9, 16, 4, 8]
        assert (of("Topic", "slot_size", 0), of("Topic", "next", 0), of("Topic", "blocking", 0, "I")) == (5000, 1, 0)

        # A subscription that blocks.
        subscription = _core.Subscription(topic, "block", 0)
        assert of("Subscriber", "owner", subscribers, "I") == me._tag
        assert of("Subscriber", "policy", subscribers, "I") == 3
        assert of("Subscriber", "cursor", subscribers) == 1
        assert (of("Topic", "blocking", 0, "I"), of("Topic", "extent", 0, "I")) == (1, 1)

        # A message.
        assert topic.publish(b"five!" * 1000) == 1
        assert of("Topic", "next", 0) == 2
        place = word(segment, ring + 8, "Q")
        slot, number = place & 0xFFFFF, place >> 20
        head = slots + 64 * slot
        assert (number, of("Slot", "seq", head), of("Slot", "length", head)) == (1, 1, 5000)
        assert (of("Slot", "publisher", head, "I"), of("Slot", "owner", head, "I")) == (me._tag, 0)
        assert os.pread(segment.fileno(), 5000, segment.body + payloads + 5056 * slot) == b"five!" * 1000
        mine = publishers + 64 * index
        assert (of("Publisher", "messages", mine), of("Publisher", "bytes", mine)) == (1, 5000)
        assert of("Publisher", "tag", mine, "I") == me._tag

        # A pin.
        sample = subscription.recv(0)
        assert sample.pinned
        assert of("Subscriber", "cursor", subscribers) == 2
        assert of("Slot", "pins", head) == 1
        del sample
        assert of("Slot", "pins", head) == 0

        # A loan, which is abandoned.
        loan = topic._loan(10, 0)
        taken = [at for at in range(9) if of("Slot", "owner", slots + 64 * at, "I") == me._tag]
        assert len(taken) == 1
        assert of("Slot", "seq", slots + 64 * taken[0]) == 0
        del loan
        assert of("Slot", "owner", slots + 64 * taken[0], "I") == 0

        # The end of the subscription.
        subscription.close()
        assert of("Subscriber", "owner", subscribers, "I") == 0
        assert of("Topic", "blocking", 0, "I") > 1
        assert of("Topic", "extent", 0, "I") == 1
