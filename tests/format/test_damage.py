"""A segment with any bytes changed, or cut, gives an error or some answer: never a crash, a hang, or a read elsewhere.

What is done to it, and what is done with it meanwhile, is in exercise.py, which runs in a process of its own.
crates/core/tests/damage.rs does the same to the algorithms, with overflow checks, and in a way that can be repeated.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import exercise
import pytest
from isolated import succeed

from samemap import PAGE_SIZE, _core

#: Before every program here: what exercise.py offers.
PRELUDE = f"""
import os, random, sys
from pathlib import Path
from samemap import _core
sys.path.insert(0, {str(Path(__file__).parent)!r})
from exercise import *
path, kind = Path(sys.argv[1]), sys.argv[2]
"""
HEADER = 128
#: Fields of the header of which every bit counts.
EXACT = range(32)


@pytest.mark.parametrize("kind", exercise.KINDS)
def test_live_segments_endure_damage(kind: str, tmp_path: Path) -> None:
    seed, seconds = int(os.environ.get("SAMEMAP_SEED", "3")), float(os.environ.get("SAMEMAP_SECONDS", "0.8"))
    line = [sys.executable, str(Path(exercise.__file__)), str(tmp_path / kind), kind, str(seed), str(seconds)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=seconds + 60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}: exit status {done.returncode}\n{done.stderr}"
    begun = {name: int(times) for times, name in (line.split(" ", 1) for line in done.stdout.splitlines())}
    segment = exercise.create(tmp_path / "whole", kind)
    every = exercise.of_roster(segment, random.Random()) | exercise.operations_of(segment, kind, 0, random.Random())
    segment.close()
    assert set(every) <= set(begun), "not every operation was tried"


OPEN = """
def use(path):
    '''Open it both ways, do a few things, and say whether it could be opened.'''
    opened = 0
    for writable in (True, False):
        try:
            segment = open_again(path, writable=writable)
        except ERRORS as error:
            assert str(error), repr(error)
            last = error
            continue
        opened += 1
        operations = of_roster(segment, chance)
        try:
            operations |= operations_of(segment, segment.kind, 0, chance)
        except ERRORS:
            pass
        for name in chance.sample(list(operations), min(8, len(operations))):
            (attempt if writable else lambda work: attempt_to_look({"": work}, chance))(operations[name])
        segment.close()
    return None if opened else last

chance = random.Random(5)
create(path, kind, '{"a": 1}').close()
whole = path.read_bytes()
"""


@pytest.mark.parametrize("kind", ["Lock", "Condition", "Namespace", "Topic"])
def test_every_byte_of_a_header_may_be_another(kind: str, tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + OPEN
        + f"""
for at in range({HEADER}):
    for byte in {{0, 0xFF, whole[at] ^ 1, whole[at] ^ 0x80}} - {{whole[at]}}:
        path.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
        error = use(path)
        # The kind, bytes 12 to 15, may be that of another object.
        if at in {EXACT!r} and at not in range(12, 16):
            assert isinstance(error, _core.SegmentMismatch), (at, byte, error)
path.write_bytes(whole)
assert use(path) is None
""",
        tmp_path / kind,
        kind,
    )


@pytest.mark.parametrize("kind", exercise.KINDS)
def test_what_is_opened_may_hold_anything(kind: str, tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + OPEN
        + f"""
words = values(chance, [1 << 10 | 1, 1 << 10 | 2])
for _ in range(100):
    damaged = bytearray(whole)
    for _ in range(chance.randrange(1, 40)):
        end = len(whole)
        places = [({HEADER} - 64, {HEADER}), ({HEADER}, 200), (4096, end), (end - 64, end), *tables(whole)]
        start, end = chance.choice(places)
        at = chance.randrange(start, end - 3) & ~3
        damaged[at : at + 4] = next(words).to_bytes(4, "little")
    if chance.random() < 0.1:
        damaged[4096:] = chance.randbytes(len(whole) - 4096)
    path.write_bytes(damaged)
    use(path)
path.write_bytes(whole)
assert use(path) is None
""",
        tmp_path / kind,
        kind,
    )


@pytest.mark.parametrize("kind", ["Topic", "Latest", "Queue"])
def test_each_word_of_a_live_topic_or_queue_may_hold_anything(kind: str, tmp_path: Path) -> None:
    # Nobody puts it right while it is used, as somebody does in exercise.py: no loop may rely on that.
    succeed(
        PRELUDE
        + """
import exercise, faulthandler, mmap
# Long enough to look at everything that there is.
exercise.BRIEF = 0.0001
chance = random.Random(7)
segment = create(path, kind)
looker = open_again(path, writable=False)
with path.open("r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)
if kind == "Topic":
    # A subscription that blocks, and keeps a message where it is; and a slot in somebody's hands.
    topic = _core.Topic(segment, BytesCodec(), True, "wait")
    subscription = _core.Subscription(topic, "block", 2)
    sample, loan = subscription.recv(0), topic._loan(9, 0)
    assert sample.pinned
if kind == "Queue":
    # A job that is leased for a time, and one that was given back.
    queue = _core.Queue(segment, BytesCodec(), "bytes")
    job = queue.lease(0)
    job.give_back()
    job = queue.lease(0, 1000)
whole = memory[:]
words, end = parts(whole)[-1]
start = int.from_bytes(whole[96:104], "little")
ring = (end - words) // 8
tried = 0
for at in range(start, end, 8):
    was = int.from_bytes(whole[at : at + 8], "little")
    if was == 0 and chance.random() < 0.8:
        # One of the many that mean nothing, or count.
        continue
    for word in {0, (1 << 64) - 1, was ^ 1 << 31, was ^ 1 << 63, was + 1, was + (ring << 20)}:
        # Whatever hangs, holding the interpreter too, ends here.
        faulthandler.dump_traceback_later(60, exit=True)
        memory[at : at + 8] = (word % (1 << 64)).to_bytes(8, "little")
        for opened in (segment, looker):
            operations = {}
            try:
                operations = operations_of(opened, kind, 0, chance)
            except ERRORS as error:
                assert str(error), repr(error)
            except TypeError as error:
                assert opened is looker and "read-only" in str(error), error
            for name in chance.sample(list(operations), min(8, len(operations))):
                attempt_to_look({name: operations[name]}, chance)
                tried += 1
            del operations
        memory[:] = whole
faulthandler.cancel_dump_traceback_later()
assert tried > 1000, tried
# And all is as it was.
if kind == "Topic":
    assert sample.value == bytes(len(sample))
    assert subscription.recv(0).seq == sample.seq + 1
if kind == "Queue":
    assert (job.value, job.state) == (bytes(100), "leased")
    job.done()
    assert [len(value) for value in queue.get_many(9, 0)] == [200, 5000]
else:
    assert _core.Topic(segment, BytesCodec(), True, "wait")._last(1)[0].seq == 11
""",
        tmp_path / kind,
        kind,
    )


@pytest.mark.parametrize("kind", exercise.KINDS)
def test_a_segment_that_is_cut_says_so(kind: str, tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + f"""
chance = random.Random(6)
for left in (0, 100, {PAGE_SIZE}):
    segment = create(path, kind)
    looker = open_again(path, writable=False)
    operations = of_roster(segment, chance) | operations_of(segment, kind, 0, chance)
    read_only = of_roster(looker, chance) | operations_of(looker, kind, 0, chance)
    before = os.stat(path).st_size
    os.truncate(path, left)
    told = 0
    for name, operation in 3 * list(operations.items()):
        error = attempt(operation)
        if isinstance(error, SegmentTruncated):
            told += 1
            assert error.filename == str(path), error
            assert f"it had {{before}} bytes and has {{left}} now" in str(error), error
            assert "make it anew" in str(error), error
        else:
            # What is wrong in itself may be told first: it is not held, is closed, or does not fit. And whoever lets go
            # touches nothing.
            is_wrong = isinstance(error, RuntimeError) or "does not fit" in str(error) or "is closed" in str(error)
            assert is_wrong or name in ("leave", "release", "end", "shut down"), (name, error)
    assert told > len(operations), told
    for name, operation in read_only.items():
        attempt_to_look({{name: operation}}, chance)
    segment.close()
    looker.close()
    # Objects keep their segment open, and who opens it meanwhile gets the same one.
    del operations, read_only, operation, error
    try:
        open_again(path, kind=kind)
    except _core.SegmentMismatch as error:
        assert f"its size is {{left}}" in str(error), error
    else:
        raise AssertionError("what was cut could be opened")
    path.unlink()
""",
        tmp_path / kind,
        kind,
    )


def test_a_cut_within_a_page_stops_newcomers_only(tmp_path: Path) -> None:
    # The kernel tells of missing pages; of a page that is there in part, the rest is zeros.
    path = tmp_path / "lock"
    segment = exercise.create(path, "Lock")
    lock = _core.Lock(segment, 0, False)
    os.truncate(path, segment.size - 1)
    assert lock.acquire(timeout=0)
    cut = f"its size is {segment.size - 1}, and {segment.size} was expected: somebody has truncated it"
    segment.close()
    lock.close()
    with pytest.raises(_core.SegmentMismatch, match=cut):
        exercise.open_again(path)


class TestWhatIsNotUnderstoodIsRefused:
    """The error names the field, what it holds, what was expected, and what helps."""

    REMAKE = r"use the same version of samemap everywhere, or remove it \(samemap rm\) and make it anew"

    def refused(self, path: Path, offset: int, field: bytes, match: str) -> None:
        exercise.create(path, "Lock").close()
        whole = path.read_bytes()
        path.write_bytes(whole[:offset] + field + whole[offset + len(field) :])
        for writable in (True, False):
            with pytest.raises(_core.SegmentMismatch, match=match) as caught:
                exercise.open_again(path, writable=writable)
            assert str(path) in str(caught.value)
        path.unlink()

    def test_a_newer_version(self, tmp_path: Path) -> None:
        message = f"its version is 2, and 1 was expected: {self.REMAKE}"
        self.refused(tmp_path / "lock", 8, (2).to_bytes(4, "little"), message)

    def test_another_byte_order(self, tmp_path: Path) -> None:
        message = (
            "its magic is 0x73616d656d617002, and 0x0270616d656d6173 was expected: a machine of the other byte order"
        )
        self.refused(tmp_path / "lock", 0, b"samemap\x02"[::-1], message)

    def test_another_file(self, tmp_path: Path) -> None:
        message = r"its magic is .*: it is no segment; Region\.open\(\) maps any file"
        self.refused(tmp_path / "lock", 0, b"\x89PNG\r\n\x1a\n", message)

    def test_a_segment_of_another_generation(self, tmp_path: Path) -> None:
        message = f"its magic is 0x0170616d656d6173, and .*: another generation of samemap made it: {self.REMAKE}"
        self.refused(tmp_path / "lock", 0, b"samemap\x01", message.replace("version of samemap", "version"))

    def test_a_feature(self, tmp_path: Path) -> None:
        message = f"its features is 0x400, and 0x0 was expected: {self.REMAKE}"
        self.refused(tmp_path / "lock", 16, (1 << 10).to_bytes(8, "little"), message)

    def test_other_structures(self, tmp_path: Path) -> None:
        message = f"its fingerprint is 0x0000000000000007, and 0x[0-9a-f]{{16}} was expected: {self.REMAKE}"
        self.refused(tmp_path / "lock", 24, (7).to_bytes(8, "little"), message)

    def test_a_kind_of_the_future(self, tmp_path: Path) -> None:
        message = "its kind is 14, and 1 to 13 was expected: a newer samemap made it: upgrade this one"
        self.refused(tmp_path / "lock", 12, (14).to_bytes(4, "little"), message)

    def test_an_empty_file_and_one_that_is_too_short(self, tmp_path: Path) -> None:
        for length in (0, 127):
            (tmp_path / "short").write_bytes(b"samemap\x02".ljust(length, b"\0")[:length])
            with pytest.raises(_core.SegmentMismatch, match=f"its size is {length}, and at least 128 was expected"):
                exercise.open_again(tmp_path / "short")

    def test_another_kind_than_was_asked_for(self, tmp_path: Path) -> None:
        exercise.create(tmp_path / "lock", "Lock").close()
        message = r"its kind is Lock, and Event was expected: open it as samemap\.Lock"
        with pytest.raises(_core.SegmentMismatch, match=message):
            exercise.open_again(tmp_path / "lock", kind="Event")
