"""What `samemap top` is made of: samples that change nothing, rates, the last minute, and the order of rows."""

from __future__ import annotations

import os
import random
import time

import pytest

from samemap import Event, Latest, Lock, Region, Topic
from samemap.cli.history import MINUTE, History, Row, Snapshot, sparkline
from samemap.cli.observe import Hold
from samemap.cli.sampling import Counts, Kept, Member, Sample, sample, samples
from samemap.cli.top_details import details
from samemap.cli.top_table import COLUMNS, Order, is_wanted, ordered, rate

LARGE = 10_000
NOW = 1_800_000_000.0


def by_name() -> dict[str, Sample]:
    return {found.name: found for found in samples(())}


def test_each_kind(doing, killed, runtime_directory):
    feed = doing(
        "topic = Topic('feed', slots=4, max_message=10_000)\nsubscription = topic.subscribe()\n"
        "topic.publish(bytes(10_000)); kept = subscription.recv(); topic.publish(b'x')"
    )
    jobs = killed("lock = Lock('jobs'); lock.acquire()")
    doing("space = Namespace('app'); lock = space.lock('users'); lock.acquire(); space.event('stop')")
    Latest("state").set(b"on")
    Region.create("raw", 4096).close()
    (runtime_directory / ".hidden").write_bytes(b"")
    found = by_name()
    assert sorted(found) == ["app", "feed", "jobs", "raw", "state"]
    topic = found["feed"]
    assert (topic.kind, topic.counts, topic.lag, topic.alive) == ("Topic", Counts(2, LARGE + 1, 0), 1, 1)
    assert [(member.pid, member.role) for member in topic.members] == [(feed.pid, "both")]
    (kept,) = topic.kept
    assert (kept.hold.pid, kept.hold.amount, kept.hold.role) == (feed.pid, 1, "subscriber")
    assert topic.members[0].joined - 1 < kept.hold.since < topic.report.now
    lock = found["jobs"]
    assert (lock.state, lock.alive, len(lock.members)) == ("held", 0, 1)
    assert [(each.hold.pid, each.hold.alive) for each in lock.kept] == [(jobs, False)]
    assert found["app"].state == "Lock: 1, Event: 1"
    assert [each.name for each in found["app"].kept] == ["users"]
    assert (found["state"].counts, found["state"].lag) == (Counts(1, 2, 0), None)
    assert (found["raw"].kind, found["raw"].size, found["raw"].members) == ("region", 4096, ())
    assert all(each.problem is None for each in found.values())


def test_only_the_living_lag(doing, killed):
    with Topic("feed") as topic:
        killed("topic = Topic.open('feed'); subscription = topic.subscribe()")
        topic.publish(b"x")
        assert by_name()["feed"].lag is None
        with topic.subscribe():
            assert by_name()["feed"].lag == 0


def test_who_sleeps_is_counted(doing):
    with Event("stop"):
        doing("threading.Thread(target=Event('stop').wait, daemon=True).start()")
        while not (found := by_name()["stop"]).waiting:
            time.sleep(0.01)
        assert (found.waiting, sorted(member.waiting for member in found.members)) == (1, [0, 1])


def test_looking_changes_nothing():
    with Topic("feed", max_message=LARGE) as topic, topic.subscribe() as subscription:
        lock = Lock("jobs")
        topic.publish(bytes(LARGE))
        kept = subscription.recv()
        things = (topic, lock)
        before = [(thing.path.read_bytes(), thing.participants()) for thing in things]
        history = History(lambda: samples(()))
        history.snapshot()
        history.snapshot()
        assert [(thing.path.read_bytes(), thing.participants()) for thing in things] == before
        assert kept.seq == 1


def test_what_cannot_be_looked_at_says_why(runtime_directory):
    Lock.create("cut").close()
    os.truncate(runtime_directory / "cut", 5000)
    (runtime_directory / "other").write_bytes(b"samemap\x02" + b"\x07" * 5000)
    (runtime_directory / "link").symlink_to("cut")
    os.mkfifo(runtime_directory / "fifo")
    found = by_name()
    assert sorted(found) == ["cut", "other"]
    assert (found["cut"].kind, found["cut"].state) == (None, "damaged")
    assert found["other"].state == "other format"
    assert found["other"].problem.startswith(f"{runtime_directory}/other: its version is")
    # What somebody asked for by name is told, also when it is missing or no file.
    (link,) = samples([str(runtime_directory / "link")])
    assert link.problem.endswith("; --follow-symlinks accepts it")
    told = {each.name: each.state for each in samples(["none", "fifo", "cut"])}
    assert told == {"none": "missing", "fifo": "no region", "cut": "damaged"}


def test_a_file_that_vanishes_is_left_out(monkeypatch, runtime_directory):
    from samemap.cli import sampling

    Lock.create("jobs").close()
    gone = [("gone", str(runtime_directory / "gone")), ("jobs", str(runtime_directory / "jobs"))]
    monkeypatch.setattr(sampling, "files_in", lambda names: gone)
    assert [found.name for found in samples(())] == ["jobs"]


@pytest.mark.parametrize("seed", range(6))
def test_damage_is_told_and_nothing_else_happens(seed, tmp_path):
    """Whatever bytes are changed, and wherever the file ends: a sample, and lines about it."""
    path = tmp_path / "feed"
    with Topic(path, slots=4, max_message=LARGE) as topic, topic.subscribe("block") as subscription:
        topic.publish(bytes(LARGE))
        kept = subscription.recv()
        whole = path.read_bytes()
        kept.release()
    dice = random.Random(seed)
    target = tmp_path / "damaged"
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 8, 64))):
            data[dice.randrange(len(data)) if dice.random() < 0.5 else dice.randrange(4096)] = dice.randrange(256)
        length = len(data) if dice.random() < 0.8 else dice.randrange(len(data))
        target.write_bytes(data[:length])
        found = sample("damaged", str(target))
        assert found is not None
        row, snapshot = Row(found), Snapshot(0.0, NOW, 1.0, ())
        assert all(isinstance(column.cell(row, snapshot), str) for column in COLUMNS)
        assert all(isinstance(line, str) for _, lines in details(row, snapshot) for line in lines)
        row.record()


def counted(messages: int, *, identity: str = "1", size: int = 10, dropped: int = 0) -> Sample:
    return Sample("feed", "/feed", "Topic", 4096, identity, counts=Counts(messages, messages * size, dropped))


def test_rates_are_differences():
    looks = iter(
        [[counted(10)], [counted(30, dropped=4)], [counted(30, dropped=4), Sample("raw", "/raw", "region", 1, "")]]
    )
    clock = iter([0.0, 0.0, 2.0, 2.0, 3.0, 3.0, 3.0])
    history = History(lambda: next(looks), lambda: next(clock))
    first, second, third = (history.snapshot() for _ in range(3))
    assert (first.seconds, first.rows[0].rates) == (0.0, None)
    assert (second.seconds, second.rows[0].rates) == (2.0, (10.0, 100.0, 2.0))
    assert second.rows[0].minute == ((2.0, 10.0),)
    assert third.rows[0].rates == (0.0, 0.0, 0.0)
    assert third.rows[1].rates is None


def test_another_file_of_the_name_begins_anew():
    looks = iter(
        [[counted(10)], [counted(20)], [counted(5, identity="2")], [counted(6, identity="2")], [], [counted(9)]]
    )
    moments = iter(range(100))
    history = History(lambda: next(looks), lambda: float(next(moments)))
    rates = [[row.rates and row.rates.messages for row in history.snapshot().rows] for _ in range(6)]
    assert rates == [[None], [5.0], [None], [0.5], [], [None]]


def test_only_the_last_minute_is_remembered():
    numbers = iter(range(1000))
    history = History(lambda: [counted(next(numbers))], lambda: float(next(numbers)))
    for _ in range(100):
        minute = history.snapshot().rows[0].minute
    assert 0 < minute[-1][0] - minute[0][0] < MINUTE


def test_a_minute_is_drawn():
    steady = [(second + 0.5, 7.0) for second in range(60)]
    assert sparkline(steady, 60.0, 12) == "█" * 12
    assert sparkline([(0.5, 0.0), (59.5, 0.0)], 60.0, 4) == "▁  ▁"
    # However little: more than nothing is higher than nothing.
    assert sparkline([(10.0, 0.001), (50.0, 1000.0)], 60.0, 2) == "▂█"
    assert sparkline([(-1.0, 9.0)], 60.0, 3) == "   "
    assert sparkline([], 60.0, 3) == "   "


def row(name: str, messages: float | None = None, **more: object) -> Row:
    from samemap.cli.history import Rates

    return Row(Sample(name, f"/{name}", "Topic", 1, "", **more), None if messages is None else Rates(messages, 0, 0))


def test_order():
    rows = [row("camera10", 5.0), row("camera2", 7.0), row("Audio"), row("x", 0.0)]

    def names(order: Order) -> list[str]:
        return [each.sample.name for each in ordered(rows, order)]

    assert names(Order()) == ["Audio", "camera2", "camera10", "x"]
    assert names(Order("name", True)) == ["x", "camera10", "camera2", "Audio"]
    assert names(Order("rate")) == ["camera2", "camera10", "x", "Audio"]
    # What has none comes last either way round.
    assert names(Order("rate", True)) == ["x", "camera10", "camera2", "Audio"]
    for column in COLUMNS:
        assert len(ordered(rows, Order(column.key))) == 4


def test_filters_look_at_names_kinds_and_users():
    member = Member(4711, "python detector.py", "subscriber", True, NOW, 0)
    found = row("camera", members=(member,))
    for words in ("", "CAM", "topic", "detector", "4711", "cam 4711"):
        assert is_wanted(found, words), words
    assert not is_wanted(found, "cam lock")


def test_cells():
    hold = Hold(4711, "python worker.py", 0, True, True, NOW - 65, 1, None, "holder", "")
    dead = hold._replace(pid=12, alive=False, since=NOW - 5)
    gone = Member(12, "", "", False, NOW, 0)
    found = row("red\x1b[31m", 0.25, places=8, members=(gone,), kept=(Kept("", "Lock", hold), Kept("", "Lock", dead)))
    shown = {column.key: column.cell(found, Snapshot(0.0, NOW, 1.0, ())) for column in COLUMNS}
    assert shown["name"] == "red\\x1b[31m"
    assert (shown["held"], shown["attached"], shown["rate"], shown["depth"]) == (
        "12 died 5 s +1",
        "0 +1 dead",
        "0.25",
        "-",
    )
    told = dict(details(found, Snapshot(0.0, NOW, 1.0, ())))
    assert told["held by"][0] == "4711 1 min python worker.py"
    assert rate(12_345.6) == "12,346"
