"""What `samemap stat`, `ls`, `rm`, `locks` and `doctor` know of topics and newest values."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from samemap import Latest, Topic
from samemap.cli import topic_checks
from samemap.cli.checks import Fix, SegmentFile
from samemap.cli.observe import UNREAD, Hold, Sight
from samemap.cli.segments import Description
from samemap.cli.topic_report import told

LARGE = 10_000

#: Pins slots until it is killed: as many as it has room for, if all.
PIN = "topic = Topic('feed', slots=4, max_message=10_000)\nsubscription = topic.subscribe()\n"
PIN += "kept = [topic.publish(bytes(10_000)) and subscription.recv() for _ in range({count})]"

#: Publishers wait for it.
BLOCK = "topic = Topic('feed', slots=4)\nsubscription = topic.subscribe('block')\n"
BLOCK += "for _ in range(4): topic.publish(b'x')"


def records(output: str) -> dict[str, dict[str, object]]:
    return {record["check"]: record for record in map(json.loads, output.splitlines())}


def sections(output: str) -> dict[str, list[str]]:
    """Return the lines of `stat` by their labels."""
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        label = line[:10].strip()
        if label:
            lines = found.setdefault(label, [])
        lines.append(line[11:])
    return found


def test_stat_tells_of_a_topic(run, doing):
    with Topic("feed", shape=(100, 50), dtype="u1", slots=4) as topic:
        reader = doing("subscription = Topic.open('feed').subscribe()")
        with topic.subscribe("block") as subscription:
            for _ in range(3):
                topic.publish(np.zeros((100, 50), "u1"))
            kept = subscription.recv()
            found = sections(run("stat", "feed").output)
            record = json.loads(run("stat", "feed", "--json").output)["topic"]
        assert kept.pinned
    me = os.getpid()
    assert found["kind"] == ["Topic, in a segment"]
    assert found["messages"] == ["arrays of shape (100, 50) and dtype |u1"]
    assert found["slots"] == ["4 of 4.9K: 1 pinned, 0 being filled"]
    assert found["published"] == ["3 messages, 14.6K in all; the newest is <1 s old"]
    (publisher,) = found["publishers"]
    assert publisher.startswith(f"pid {me} ")
    assert publisher.endswith(": 3 messages, 14.6K, the last <1 s ago")
    ours = next(line for line in found["subscribed"] if line.startswith(f"pid {me} "))
    assert ours.endswith(": block, 1 received, 0 missed, 2 behind, 1 pinned, since <1 s")
    theirs = next(line for line in found["subscribed"] if line.startswith(f"pid {reader.pid} "))
    assert ": drop, " in theirs
    assert record["schema"]["codec"] == "numpy"
    counts = {
        name: record[name] for name in ("messages", "bytes", "dropped", "slots", "loaned", "pinned", "participants")
    }
    assert counts == {
        "messages": 3,
        "bytes": 15_000,
        "dropped": 0,
        "slots": 4,
        "loaned": 0,
        "pinned": 1,
        "participants": 2,
    }
    assert [(each["pid"], each["messages"], each["bytes"]) for each in record["publishers"]] == [(me, 3, 15_000)]
    assert datetime.fromisoformat(record["publishers"][0]["last"]).timestamp() == pytest.approx(time.time(), abs=60)
    mine = next(each for each in record["subscribers"] if each["pid"] == me)
    assert (mine["policy"], mine["received"], mine["lag"], mine["pins"], len(mine["delays"])) == ("block", 1, 2, 1, 32)


def test_stat_tells_of_a_newest_value_and_of_nothing(run):
    with Latest("state", shape=(), dtype="f8") as state, Topic("words"):
        found = sections(run("stat", "state").output)
        assert (found["published"], found["publishers"]) == (["nothing yet"], ["nobody yet"])
        assert not {"slots", "subscribed"} & found.keys()
        state.set(1)
        found = sections(run("stat", "state").output)
        assert found["published"] == ["1 message, 8 bytes in all; the newest is <1 s old"]
        assert found["messages"] == ["single numbers of dtype <f8"]
        assert sections(run("stat", "words").output)["subscribed"] == ["nobody"]
    assert json.loads(run("stat", "words", "--json").output)["topic"]["publishers"] == []


def test_stat_of_what_is_no_topic_has_no_such_lines(run, last):
    assert json.loads(run("stat", "last", "--json").output)["topic"] is None
    assert "publishers" not in run("stat", "last").output


def test_stat_takes_part_in_nothing(run):
    with Topic("feed") as topic:
        topic.publish(b"x")
        before = topic.path.read_bytes()
        run("stat", "feed")
        run("locks", "feed")
        assert topic.path.read_bytes() == before


def test_stat_tells_who_has_gone(run, killed):
    pid = killed("topic = Topic('feed'); topic.subscribe(); topic.publish(b'x')")
    assert sections(run("stat", "feed").output)["publishers"][0].startswith(f"pid {pid} (gone) ")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"codec": "bytes"}, "bytes"),
        ({"codec": "pickle"}, "pickles"),
        ({"codec": "numpy", "shape": [], "dtype": {"fields": [["x", "<f4", 0, [2, 3]]]}}, "records of x <f4 (2, 3)"),
        (
            {"codec": "numpy", "shape": [9], "dtype": {"fields": [["x", {"fields": []}, 0]]}},
            "arrays of shape (9,) of records of x record",
        ),
        ({"codec": "msgspec", "type": "int", "types": {}}, "of type int"),
        ({"codec": "new"}, "of codec 'new'"),
        ({"codec": "numpy", "shape": 7}, "of codec 'numpy', with a damaged description"),
        ({"codec": "msgspec", "type": "A", "types": [1]}, "of codec 'msgspec', with a damaged description"),
        ({}, "of codec None"),
    ],
)
def test_what_messages_are_is_told_in_words(schema, words):
    assert told(schema) == words


def test_ls_shows_the_kind(run):
    with Topic("feed"), Latest("state"):
        _, *lines = run("ls").output.splitlines()
    assert [line.split()[:2] for line in lines] == [["feed", "Topic"], ["state", "Latest"]]


def test_rm_tells_who_goes_on(run, doing):
    reader = doing("subscription = Topic('feed').subscribe()")
    result = run("rm", "feed")
    assert (result.exit_code, f"still mapped by pid {reader.pid} (rw)" in result.stderr) == (0, True)


def test_locks_tell_who_pins_and_who_waits(run, doing):
    pinning = doing(PIN.format(count=2))
    waiting = doing("topic = Topic.open('feed')\nthreading.Thread(target=topic.subscribe().recv, daemon=True).start()")
    deadline = time.monotonic() + 60
    while True:
        found = json.loads(run("locks", "feed", "--json").output)
        if found["waiting"]:
            break
        assert time.monotonic() < deadline
    assert (found["kind"], found["state"]) == ("Topic", "2 of 4 pinned")
    assert {name: found[name] for name in ("messages", "slots", "pinned", "loaned")} == {
        "messages": 2,
        "slots": 4,
        "pinned": 2,
        "loaned": 0,
    }
    (holder,) = found["holders"]
    assert (holder["pid"], holder["amount"], holder["role"], holder["alive"]) == (pinning.pid, 2, "subscriber", True)
    assert [waiter["pid"] for waiter in found["waiting"]] == [waiting.pid]
    pinning.kill()
    pinning.wait()
    assert re.search(rf"{pinning.pid} subscriber .2 died: next publisher takes them back", run("locks").output)


def test_locks_tell_whom_publishers_wait_for(run, doing):
    blocking = doing(BLOCK)
    (holder,) = json.loads(run("locks", "feed", "--json").output)["holders"]
    assert (holder["pid"], holder["amount"], holder["role"]) == (blocking.pid, 4, "unread")
    # As soon as there is room, nobody is waited for.
    with Latest("state") as state:
        assert json.loads(run("locks", "state", "--json").output)["state"] == "never set"
        state.set(b"on")
        assert json.loads(run("locks", "state", "--json").output)["state"] == "number 1"


def test_doctor_finds_pins_of_the_dead_and_takes_them_back(run, killed):
    with Topic("feed", slots=4, max_message=LARGE) as topic:
        pid = killed(PIN.format(count=2))
        seen = records(run("doctor", "--json").output)
        assert list(seen) == ["dead-participants", "pinned-by-the-dead"]
        assert f"pid {pid} (" in seen["pinned-by-the-dead"]["found"]
        assert seen["pinned-by-the-dead"]["found"].endswith(" died with 2 of 4 slots pinned")
        result = run("doctor", "--fix")
        assert "done      its slots are free" in result.stdout
        assert (result.exit_code, topic.stats().pinned, len(topic.subscribers())) == (0, 0, 0)
        assert run("doctor").exit_code == 0
        assert [sample.seq for sample in topic.last()] == [1, 2]


def test_doctor_finds_a_topic_without_a_free_slot(run, doing):
    pinning = doing(PIN.format(count=4))
    (finding,) = records(run("doctor", "--json").output).values()
    assert (finding["check"], finding["fix"]) == ("pinned", None)
    assert finding["found"].startswith(f"all 4 slots are pinned, by pid {pinning.pid} (")
    assert run("doctor").exit_code == 1


def test_doctor_notes_whom_publishers_wait_for(run, doing):
    blocking = doing(BLOCK)
    result = run("doctor", "--json")
    (finding,) = records(result.output).values()
    assert (finding["check"], finding["is_note"], result.exit_code) == ("waited-for", True, 0)
    assert f"pid {blocking.pid} (" in finding["found"]
    assert "has 4 unread messages" in finding["found"]


def test_a_topic_in_use_is_healthy(run, doing):
    with Topic("feed", slots=4, max_message=LARGE) as topic, topic.subscribe() as subscription, Latest("state"):
        topic.publish(bytes(LARGE))
        kept = subscription.recv()
        result = run("doctor")
        assert (result.exit_code, "Nothing is wrong" in result.stdout) == (0, True)
        assert kept.pinned


def test_doctor_and_locks_live_with_damage(run, runtime_directory):
    Topic.create("feed").close()
    file = runtime_directory / "feed"
    content = bytearray(file.read_bytes())
    for start in range(4096, min(len(content), 40_000), 512):
        damaged = content.copy()
        damaged[start : start + 512] = b"\xff" * 512
        file.write_bytes(damaged)
        for command in (["doctor", "--json"], ["locks", "feed"], ["stat", "feed"], ["hz", "feed", "--every", "10ms"]):
            more = ["--count", "1"] if command[0] == "hz" else []
            result = run(*command, *more)
            assert result.exit_code in (0, 1), (start, command)


def hold(*, alive: bool, role: str = "subscriber", amount: int = 2, pid: int | None = 4711) -> Hold:
    return Hold(pid, "python worker.py", 1000, alive, True, None, amount, None, role, "")


def segment_file(*holds: Hold, pinned: int = 2, slots: int = 4) -> SegmentFile:
    numbers = {"messages": 9, "slots": slots, "pinned": pinned, "loaned": 0}
    sight = Sight("", "Topic", "", holds, numbers=numbers)
    return SegmentFile(Path("/dev/shm/samemap-1/feed"), 28672, Description("Topic", None, 1), (sight,))


def test_checks_of_pins():
    (finding,) = topic_checks.pinned_by_the_dead(segment_file(hold(alive=False), hold(alive=True)))
    assert (finding.subject, finding.fix) == ("feed", Fix.UNPIN)
    assert not list(topic_checks.all_pinned(segment_file(hold(alive=True))))
    (finding,) = topic_checks.all_pinned(segment_file(hold(alive=True), hold(alive=True), pinned=4))
    assert finding.found.endswith("pid 4711 (python worker.py): 2; pid 4711 (python worker.py): 2")
    # The next publisher takes back what the dead pin.
    assert not list(topic_checks.all_pinned(segment_file(hold(alive=False), hold(alive=True), pinned=4)))
    (finding,) = topic_checks.pinned_by_the_dead(segment_file(hold(alive=False, pid=None)))
    assert finding.found.startswith("a process that is gone died with 2 of 4")


def test_checks_of_unread_messages():
    assert not list(topic_checks.waited_for(segment_file(hold(alive=True))))
    assert not list(topic_checks.waited_for(segment_file(hold(alive=False, role=UNREAD))))
    (finding,) = topic_checks.waited_for(segment_file(hold(alive=True, role=UNREAD)))
    assert finding.is_note
    assert not list(topic_checks.pinned_by_the_dead(segment_file(hold(alive=False, role=UNREAD))))
