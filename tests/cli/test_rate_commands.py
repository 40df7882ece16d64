"""`samemap hz`, `samemap bw` and `samemap delay`: from counts only, and so that nobody notices."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from datetime import datetime

import pytest

from samemap import Latest, Topic
from samemap.cli.delays import percentiles
from samemap.cli.looks import Look

LARGE = 10_000

#: Publishes until it is killed; says so when it has begun.
PUBLISHER = "topic = Topic('feed', max_message=10_000, slots=4)\ntopic.publish(bytes({size}))\n"
PUBLISHER += "def go():\n    while True: topic.publish(bytes({size})); time.sleep({pause})\n"
PUBLISHER += "threading.Thread(target=go, daemon=True).start()"

#: Receives until it is killed.
SUBSCRIBER = "topic = Topic('feed', max_message=10_000, slots=4)\nsubscription = topic.subscribe()\n"
SUBSCRIBER += "def go():\n    for sample in subscription: sample.release()\n"
SUBSCRIBER += "threading.Thread(target=go, daemon=True).start()"


def once(run, command, name, *more, every="300ms"):
    result = run(command, name, "--every", every, "--count", "1", *more)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.output) if "--json" in more else result.output


def test_rates_by_publisher(run, doing):
    first = doing(PUBLISHER.format(size=LARGE, pause=0.001))
    second = doing(PUBLISHER.format(size=100, pause=0.01))
    found = once(run, "hz", "feed", "--json", every="1s")
    assert (found["name"], found["dropped"]) == ("feed", 0)
    assert datetime.fromisoformat(found["time"]).tzinfo is not None
    assert found["messages_per_second"] == pytest.approx(found["messages"] / found["seconds"])
    each = {publisher["pid"]: publisher for publisher in found["publishers"]}
    assert each.keys() == {first.pid, second.pid}
    assert each[first.pid]["messages"] > each[second.pid]["messages"] > 0
    # One may be counted in the topic, and not yet in its publisher's count.
    assert abs(sum(publisher["messages"] for publisher in each.values()) - found["messages"]) <= 2
    found = once(run, "bw", "feed", "--json")
    each = {publisher["pid"]: publisher for publisher in found["publishers"]}
    assert each[first.pid]["bytes"] == LARGE * each[first.pid]["messages"]
    assert each[second.pid]["bytes"] == 100 * each[second.pid]["messages"]
    assert found["bytes_per_second"] == pytest.approx(found["bytes"] / found["seconds"])
    total, *lines = once(run, "hz", "feed").splitlines()
    assert re.fullmatch(r"[\d,]+\.\d messages/s", total)
    assert re.match(rf"  [\d,]+\.\d messages/s  pid {first.pid} \(", lines[0])
    assert re.match(rf"  [\d,]+\.\d messages/s  pid {second.pid} \(", lines[1])
    total, *lines = once(run, "bw", "feed").splitlines()
    assert re.fullmatch(r"[\d.]+[KM]/s, [\d.]+K a message", total)
    assert re.match(rf"  [\d.]+[KM]/s, 9\.8K a message  pid {first.pid} \(", lines[0])


@pytest.mark.parametrize("command", ["hz", "bw", "delay"])
def test_nothing_new_is_said(run, command):
    with Topic("feed") as topic:
        expected = "nobody subscribes" if command == "delay" else "no new messages for 0.0 s (the newest is number 0)"
        assert once(run, command, "feed", every="10ms") == expected + "\n"
        topic.publish(b"x")
        with topic.subscribe():
            expected = "no new messages" if command == "delay" else "no new messages for 0.0 s (the newest is number 1)"
            assert expected in once(run, command, "feed", every="10ms")


def test_that_nobody_lives_who_could_publish_is_said(run, killed):
    killed("topic = Topic('feed'); topic.publish(b'x')")
    assert once(run, "hz", "feed", every="10ms").endswith(
        "(the newest is number 1), and nobody who has published lives\n"
    )


def test_drops_are_told(samemap):
    with Topic("feed", slots=2, max_message=LARGE, when_full="drop") as topic, topic.subscribe() as subscription:
        kept = [topic.publish(bytes(LARGE)) and subscription.recv() for _ in range(2)]
        look = samemap("hz", "feed", "--every", "500ms", "--json")
        look.stdout.readline()
        assert topic.publish(bytes(LARGE)) == 0
        dropped = [json.loads(look.stdout.readline())["dropped"] for _ in range(2)]
        assert sum(dropped) == 1
        look.kill()
        assert len(kept) == 2


def test_looking_changes_nothing(run, doing):
    """It never subscribes, joins or writes: not one byte differs afterwards."""
    with Topic("feed", max_message=LARGE) as topic, topic.subscribe() as subscription:
        topic.publish(bytes(LARGE))
        subscription.recv()
        before = topic.path.read_bytes(), topic.subscribers(), topic.participants()
        for command in ("hz", "bw", "delay"):
            once(run, command, "feed", every="10ms")
        assert (topic.path.read_bytes(), topic.subscribers(), topic.participants()) == before


@pytest.mark.parametrize("command", ["hz", "bw", "delay"])
def test_the_permission_to_read_a_file_of_another_user_is_enough(nobody, shared, command):
    path = shared / "feed"
    with Topic(path, max_message=LARGE) as topic, topic.subscribe() as subscription:
        # Of a third user, and for a group that the other user is in.
        os.fchown(topic._segment.fileno(), 12345, 65534)
        os.fchmod(topic._segment.fileno(), 0o440)
        refused = nobody(command, str(path), "--count", "1", "--every", "10ms")
        assert "; --any-owner accepts that" in refused.communicate()[1]
        look = nobody(command, str(path), "--every", "200ms", "--any-owner", "--json")
        look.stdout.readline()
        topic.publish(bytes(LARGE))
        subscription.recv(60)
        figures = ""
        while not re.search(r'"(messages|counted)": 1', figures):
            figures = look.stdout.readline()
            assert figures, look.stderr.read()
        assert len(topic.subscribers()) == 1
        assert [who.pid for who in topic.participants()] == [os.getpid()]


def test_delays_by_subscription(run, doing):
    doing(PUBLISHER.format(size=LARGE, pause=0.001))
    subscriber = doing(SUBSCRIBER)
    (found,) = once(run, "delay", "feed", "--json")["subscribers"]
    assert (found["pid"], found["policy"], found["alive"]) == (subscriber.pid, "drop", True)
    assert found["counted"] > 0
    assert 0 < found["p50"] <= found["p90"] <= found["p99"] <= found["max"]
    # Powers of two of nanoseconds.
    assert (round(found["p50"] * 1e9) & (round(found["p50"] * 1e9) - 1)) == 0
    heading, line = once(run, "delay", "feed").splitlines()
    assert heading.split() == ["P50", "P90", "P99", "MAX", "COUNTED", "POLICY", "SUBSCRIBER"]
    assert re.fullmatch(rf"( *≤ [\d.]+ (ns|µs|ms|s)){{4}} +\d+  drop    pid {subscriber.pid} \(.*", line)
    subscriber.kill()
    subscriber.wait()
    assert f"pid {subscriber.pid}, gone (" in once(run, "delay", "feed")


def test_a_newest_value_has_rates_and_no_delays(samemap, run):
    with Latest("state") as state:
        state.set(b"first")
        look = samemap("hz", "state", "--every", "200ms", "--json")
        look.stdout.readline()
        state.set(b"second")
        messages = [json.loads(look.stdout.readline())["messages"] for _ in range(2)]
        assert sum(messages) == 1
        look.kill()
        result = run("delay", "state", "--every", "10ms")
        assert (result.exit_code, "it is a Latest, to which nobody subscribes" in result.stderr) == (1, True)


def test_percentiles_are_the_ends_of_ranges():
    counts = [0] * 32
    counts[10], counts[12], counts[31] = 98, 1, 1
    assert percentiles(tuple(counts)) == {"p50": 2048e-9, "p90": 2048e-9, "p99": 8192e-9, "max": float("inf")}
    counts = [0] * 32
    counts[0] = 1
    assert set(percentiles(tuple(counts)).values()) == {2e-9}


def test_differences():
    before = Look(1.0, (10, 100, 0), {1: (10, 100, 0)}, {(1, 7): ("drop", (2**32 - 1, 5))})
    after = Look(
        3.0, (15, 200, 1), {1: (12, 150, 1), 2: (3, 50, 0)}, {(1, 7): ("drop", (1, 6)), (2, 8): ("latest", (0, 3))}
    )
    new = after.since(before)
    assert (new.moment, new.totals, new.outputs) == (2.0, (5, 100, 1), {1: (2, 50, 1), 2: (3, 50, 0)})
    # Counts of 32 bits start again from 0.
    assert new.delays == {(1, 7): ("drop", (2, 1)), (2, 8): ("latest", (0, 3))}


@pytest.mark.parametrize("command", ["hz", "bw", "delay"])
def test_the_end(samemap, command):
    with Topic("feed"):
        look = samemap(command, "feed", "--every", "10ms")
        assert look.stdout.readline()
        look.send_signal(signal.SIGINT)
        assert look.wait() == 130
        assert look.stderr.read() == ""
        look = samemap(command, "feed", "--every", "10ms")
        assert look.stdout.readline()
        look.stdout.close()
        assert (look.wait(), look.stderr.read()) == (0, "")


def test_they_wait_until_it_exists(samemap):
    look = samemap("hz", "feed", "--wait", "inf", "--every", "10ms", "--count", "1")
    with Topic("feed"):
        assert "no new messages" in look.communicate()[0]


def test_pickles_and_arrays_are_counted_without_what_reads_them(run, monkeypatch):
    with Topic("arrays", dtype="f4"), Topic("typed", type=int), Topic("things", codec="pickle"):
        for module in ("numpy", "msgspec", "pickle"):
            monkeypatch.setitem(sys.modules, module, None)
        for name in ("arrays", "typed", "things"):
            assert "no new messages" in once(run, "hz", name, every="10ms")
