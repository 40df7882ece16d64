"""`samemap locks`, with real processes that hold real locks."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from datetime import datetime

import pytest

from samemap import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Counter,
    Event,
    Lock,
    Namespace,
    ReadWriteLock,
    RLock,
    Semaphore,
)
from samemap.cli.lock_table import Row, lines
from samemap.cli.observe import Hold, Sight, Waiter

NOW = 1_800_000_000.0


def records(output: str) -> dict[str, dict[str, object]]:
    return {record["name"]: record for record in map(json.loads, output.splitlines())}


def until(look, wanted, seconds=20.0):
    """Look until something is as wanted, for what another process needs a moment for."""
    deadline = time.monotonic() + seconds
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    return seen


def test_nothing_is_no_error(run, runtime_directory, monkeypatch):
    for directory in (runtime_directory, runtime_directory / "missing"):
        monkeypatch.setenv("SAMEMAP_DIR", str(directory))
        result = run("locks")
        assert (result.output, result.exit_code) == ("", 0)


def test_every_kind_has_its_state(run):
    with (
        Event.create("event-set") as done,
        Event.create("event"),
        Counter.create("counter", -3),
        Barrier.create("barrier", 3),
    ):
        done.set()
        lock, rlock, condition = Lock.create("lock"), RLock.create("rlock"), Condition.create("condition")
        semaphore, bounded = Semaphore.create("semaphore", 2), BoundedSemaphore.create("bounded", 5)
        rw = ReadWriteLock.create("rw")
        with lock, rlock, condition, semaphore, bounded, rw.reading(), rw.reading():
            seen = records(run("locks", "--json").output)
        writing = rw.acquire_write() and records(run("locks", "rw", "--json").output)["rw"]
        rw.release_write()
        free = records(run("locks", "--json").output)
    assert {name: (found["kind"], found["state"]) for name, found in seen.items()} == {
        "event-set": ("Event", "set"),
        "event": ("Event", "clear"),
        "counter": ("Counter", "-3"),
        "barrier": ("Barrier", "0 of 3 waiting"),
        "lock": ("Lock", "held"),
        "rlock": ("RLock", "held"),
        "condition": ("Condition", "held"),
        "semaphore": ("Semaphore", "1 free"),
        "bounded": ("Semaphore", "4 of 5 free"),
        "rw": ("ReadWriteLock", "2 reading"),
    }
    for name in ("lock", "rlock", "condition", "semaphore", "bounded", "rw"):
        (holder,) = seen[name]["holders"]
        assert (holder["pid"], holder["alive"], holder["user"]) == (os.getpid(), True, os.geteuid())
    assert seen["rw"]["holders"][0]["amount"] == 2
    assert (seen["bounded"]["value"], seen["bounded"]["bound"], seen["semaphore"]["bound"]) == (4, 5, None)
    assert (writing["state"], writing["holders"][0]["role"]) == ("writing", "writer")
    states = {name: free[name]["state"] for name in ("lock", "rlock", "condition", "semaphore", "bounded", "rw")}
    assert states == {
        "lock": "free",
        "rlock": "free",
        "condition": "free",
        "semaphore": "2 free",
        "bounded": "5 of 5 free",
        "rw": "free",
    }
    for thing in (lock, rlock, condition, semaphore, bounded, rw):
        thing.close()


def test_it_tells_who_holds_and_since_when(run, doing):
    before = time.time()
    holder = doing("lock = Lock('jobs')\nlock.acquire()")
    found = records(run("locks", "--json").output)["jobs"]
    (held,) = found["holders"]
    assert held["pid"] == holder.pid
    assert held["command"].startswith(f"{sys.executable} -u -c")
    assert before - 0.1 <= datetime.fromisoformat(held["since"]).timestamp() <= time.time()
    heading, line = run("locks").output.splitlines()
    assert heading.split() == ["NAME", "KIND", "STATE", "SINCE", "WAITING", "RECOVERED", "HOLDER"]
    assert re.fullmatch(rf"jobs +Lock +held +(<1|\d+) s +- +0  {holder.pid} {sys.executable} -u -c .*", line)
    assert line.index(str(holder.pid)) == heading.index("HOLDER")


def test_it_tells_who_waits(run, doing):
    lock = Lock.create("jobs")
    lock.acquire()
    waiting = "threading.Thread(target=lock.acquire, daemon=True).start()\n"
    first = doing("lock = Lock('jobs')\n" + 2 * waiting)
    second = doing("lock = Lock('jobs')\n" + waiting)
    found = until(
        lambda: records(run("locks", "--json").output)["jobs"],
        lambda found: sum(waiter["sleepers"] for waiter in found["waiting"]) == 3,
    )
    assert {waiter["pid"]: waiter["sleepers"] for waiter in found["waiting"]} == {first.pid: 2, second.pid: 1}
    assert re.search(rf"  3: ({first.pid} {second.pid}|{second.pid} {first.pid})  ", run("locks").output)
    for process in (first, second):
        process.kill()
        process.wait()
    assert records(run("locks", "--json").output)["jobs"]["waiting"] == []
    lock.close()


def test_waiters_of_the_other_kinds(run, doing):
    with Event.create("event"), Counter.create("counter"), Barrier.create("barrier", 2):
        condition = Condition.create("condition")
        processes = {
            "event": doing("thing = Event('event')\nthreading.Thread(target=thing.wait, daemon=True).start()"),
            "counter": doing(
                "thing = Counter('counter')\nthreading.Thread(target=thing.wait_until, args=(5,), daemon=True).start()"
            ),
            "barrier": doing("thing = Barrier('barrier', 2)\nthreading.Thread(target=thing.wait, daemon=True).start()"),
            "condition": doing(
                "thing = Condition('condition')\n"
                "def wait():\n with thing:\n  thing.wait()\n"
                "threading.Thread(target=wait, daemon=True).start()"
            ),
        }
        seen = until(
            lambda: records(run("locks", "--json").output),
            lambda seen: all(found["waiting"] for found in seen.values()),
        )
        for name, process in processes.items():
            assert [(waiter["pid"], waiter["sleepers"]) for waiter in seen[name]["waiting"]] == [(process.pid, 1)], name
        assert seen["barrier"]["state"] == "1 of 2 waiting"
        assert seen["condition"]["waiting_for_notify"] == 1
        assert seen["condition"]["state"] == "free"
    condition.close()


def test_a_writer_that_waits_for_readers_is_told_from_one_that_writes(run, doing):
    rw = ReadWriteLock.create("jobs")
    rw.acquire_read()
    writer = doing("rw = ReadWriteLock('jobs')\nthreading.Thread(target=rw.acquire_write, daemon=True).start()")

    def look() -> dict[str, object]:
        return records(run("locks", "--json").output)["jobs"]

    def roles(found: dict[str, object]) -> dict[int, str]:
        return {holder["pid"]: holder["role"] for holder in found["holders"]}

    found = until(look, lambda found: len(found["holders"]) == 2)
    assert (found["state"], roles(found)) == ("1 reading", {os.getpid(): "reader", writer.pid: "next writer"})
    rw.release_read()
    found = until(look, lambda found: found["state"] == "writing")
    assert roles(found) == {writer.pid: "writer"}
    rw.close()


def test_a_dead_holder_is_marked_and_then_counted(run, killed):
    pid = killed("lock = Lock('jobs')\nlock.acquire()")
    line = run("locks").output.splitlines()[1]
    assert f"{pid} died: next acquirer recovers {sys.executable}" in line
    (held,) = records(run("locks", "--json").output)["jobs"]["holders"]
    assert (held["pid"], held["alive"]) == (pid, False)
    lock = Lock.open("jobs")
    assert lock.acquire()
    assert lock.recovered
    lock.release()
    found = records(run("locks", "--json").output)["jobs"]
    assert (found["state"], found["recovered"]) == ("free", 1)
    lock.close()


@pytest.mark.parametrize(
    ("source", "mark"),
    [
        ("thing = BoundedSemaphore('jobs', 2)\nthing.acquire()", "died: next acquirer gets it"),
        ("thing = ReadWriteLock('jobs')\nthing.acquire_read()", "reader died: next writer passes it"),
        ("thing = ReadWriteLock('jobs')\nthing.acquire_write()", "writer died: next acquirer recovers"),
        ("thing = Condition('jobs')\nthing.acquire()", "died: next acquirer recovers"),
        ("thing = RLock('jobs')\nthing.acquire()", "died: next acquirer recovers"),
    ],
)
def test_the_dead_are_marked_in_every_kind(run, killed, source, mark):
    pid = killed(source)
    assert f"{pid} {mark} " in run("locks").output


def test_a_stopped_holder_is_alive(run, doing):
    holder = doing("lock = Lock('jobs')\nlock.acquire()")
    os.kill(holder.pid, signal.SIGSTOP)
    assert records(run("locks", "--json").output)["jobs"]["holders"][0]["alive"]
    assert "died" not in run("locks").output


def test_the_objects_of_a_namespace_have_lines_of_their_own(run, killed):
    with Namespace.create("empty"), Namespace.create("app") as app:
        app.counter("hits", 7).close()
        pid = killed("app = Namespace('app')\nlock = app.lock('job')\nlock.acquire()")
        seen = records(run("locks", "--json").output)
        assert {name: (found["kind"], found["state"]) for name, found in seen.items()} == {
            "app:hits": ("Counter", "7"),
            "app:job": ("Lock", "held"),
            "empty": ("Namespace", "empty"),
        }
        assert (seen["app:job"]["segment"], seen["app:job"]["object"]) == ("app", "job")
        assert seen["empty"]["object"] is None
        assert re.search(rf"^app:job +Lock +held .* {pid} died: ", run("locks").output, re.MULTILINE)


def test_a_waiter_of_one_object_is_not_one_of_its_neighbours(run, doing):
    with Namespace.create("app") as app:
        things = [app.event(name) for name in ("a", "b", "c")]
        process = doing("event = Namespace('app').event('b')\nthreading.Thread(target=event.wait, daemon=True).start()")
        seen = until(
            lambda: records(run("locks", "--json").output),
            lambda seen: any(found["waiting"] for found in seen.values()),
        )
        waiting = {name: [waiter["pid"] for waiter in found["waiting"]] for name, found in seen.items()}
        assert waiting == {"app:a": [], "app:b": [process.pid], "app:c": []}
        for thing in things:
            thing.close()


def test_looking_changes_nothing_and_joins_nothing(run, killed, runtime_directory):
    killed("lock = Lock('jobs')\nlock.acquire()")
    file = runtime_directory / "jobs"
    before, status = file.read_bytes(), file.stat()
    for _ in range(3):
        assert run("locks").exit_code == 0
    assert file.read_bytes() == before
    # Stores through a mapping do not show in the times of a file, writes do.
    assert file.stat().st_mtime_ns == status.st_mtime_ns


def test_permission_to_read_is_enough(run, runtime_directory, start):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    Lock.create("jobs", perm=0o644).close()
    runtime_directory.chmod(0o755)
    source = (
        "import os, sys\nfrom samemap.cli import commands\n"
        "os.setgroups([])\nos.setgid(12345)\nos.setuid(12345)\ncommands(['locks', sys.argv[1]])"
    )
    program = start(runtime_directory / "jobs", source=source)
    output, errors = program.communicate()
    assert (program.returncode, errors) == (0, "")
    assert " Lock " in output


def test_raw_regions_are_not_listed_and_refused_by_name(run, last):
    Lock.create("jobs").close()
    last.write_text("samemap rocks")
    result = run("locks")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "last" not in result.stdout
    result = run("locks", "last", "jobs")
    assert result.exit_code == 1
    assert re.search(r"^jobs +Lock +free ", result.stdout, re.MULTILINE)
    assert result.stderr == (
        f"samemap locks: {last.path}: it is a raw region, no segment; "
        "'samemap stat' and 'samemap hexdump' look at those\n"
    )
    assert re.search(r"^last +\? +no segment ", result.stdout, re.MULTILINE)


def test_a_name_that_is_missing(run, runtime_directory):
    result = run("locks", "none")
    assert result.exit_code == 1
    assert re.search(r"^none +\? +missing ", result.stdout, re.MULTILINE)
    assert result.stderr == (
        f"samemap locks: {runtime_directory / 'none'}: No such file or directory; 'samemap ls' shows what there is\n"
    )


@pytest.mark.parametrize(
    ("offset", "bytes_", "state", "message"),
    [
        (8, b"\x07\0\0\0", "other format", "its version is 7, and 1 was expected"),
        (12, b"\x63\0\0\0", "other format", "its kind is 99"),
        (64, b"\xff" * 8, "damaged", "its size is"),
        (0, b"samemap\x03", "other format", "its magic is 73616d656d617003, and 73616d656d617002 was expected"),
        (0, b"\x02pamemas", "other format", "a machine of the other byte order made it"),
    ],
)
def test_a_damaged_segment_says_so_and_the_others_are_shown(run, runtime_directory, offset, bytes_, state, message):
    Lock.create("jobs").close()
    Lock.create("wrong").close()
    with (runtime_directory / "wrong").open("r+b") as file:
        file.seek(offset)
        file.write(bytes_)
    result = run("locks")
    assert result.exit_code == 1
    assert re.search(r"^jobs +Lock +free ", result.stdout, re.MULTILINE)
    assert re.search(rf"^wrong +\? +{state} ", result.stdout, re.MULTILINE)
    assert message in result.stderr
    assert str(runtime_directory / "wrong") in result.stderr
    seen = records(run("locks", "--json").stdout)
    assert (seen["wrong"]["kind"], seen["wrong"]["state"]) == (None, state)
    assert message in seen["wrong"]["problem"]


def test_a_truncated_segment_says_so(run, runtime_directory):
    Lock.create("jobs").close()
    for size in (100, 5000):
        os.truncate(runtime_directory / "jobs", size)
        result = run("locks")
        assert result.exit_code == 1
        assert re.search(r"^jobs +\? +damaged", result.stdout, re.MULTILINE)


def test_links_and_directories_are_skipped(run, runtime_directory):
    Lock.create("jobs").close()
    (runtime_directory / "link").symlink_to("jobs")
    (runtime_directory / "directory").mkdir()
    os.mkfifo(runtime_directory / "fifo")
    assert list(records(run("locks", "--json").output)) == ["jobs"]
    assert "symbolic link" in run("locks", str(runtime_directory / "link")).stderr
    assert run("locks", "--follow-symlinks", str(runtime_directory / "link")).exit_code == 0


def test_names_cannot_steer_the_terminal(run, tmp_path):
    path = tmp_path / "red\x1b[31m"
    Namespace.create(path).close()
    with Namespace.open(path) as space:
        space.lock("blue").close()
    shown = run("locks", str(path)).output
    assert "red\\x1b[31m:blue" in shown
    assert "\x1b" not in shown


def test_watch_shows_changes(run, samemap):
    lock = Lock.create("jobs")
    program = samemap("locks", "--watch", "100ms", "--json")
    assert json.loads(program.stdout.readline())["state"] == "free"
    lock.acquire()
    until(lambda: json.loads(program.stdout.readline())["state"], lambda state: state == "held")
    lock.release()
    lock.close()
    program.send_signal(signal.SIGINT)
    assert program.wait() == 130


def test_watch_ends_with_its_listener(samemap):
    Lock.create("jobs").close()
    program = samemap("locks", "--watch", "100ms")
    program.stdout.readline()
    program.stdout.close()
    assert program.wait(20) == 0


def test_watch_tells_a_problem_once(samemap, runtime_directory):
    Lock.create("jobs").close()
    os.truncate(runtime_directory / "jobs", 5000)
    program = samemap("locks", "--watch", "100ms")
    for _ in range(6):
        program.stdout.readline()
    program.send_signal(signal.SIGINT)
    assert program.communicate()[1].count("samemap locks: ") == 1


def heed_signals() -> None:
    # What started the tests may ignore them, and that is inherited.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_watch_gives_the_terminal_back(number, status):
    Lock.create("jobs").close()
    ours, theirs = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "samemap", "locks", "--watch", "100ms"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        preexec_fn=heed_signals,
    )
    shown = b""
    while b"jobs" not in shown:
        shown += os.read(ours, 65536)
    assert shown.startswith(b"\x1b[?1049h")
    program.send_signal(number)
    assert program.wait() == status
    os.close(theirs)
    rest = b""
    while True:
        try:
            rest += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    # What was seen last stays, below what was there before.
    leave, last = rest.rsplit(b"\x1b[?1049l", 1)
    assert b"\x1b[?25h" in leave
    assert b"jobs" in last


@pytest.mark.parametrize(("rows", "shown"), [(4, 3), (6, 5), (40, 9)])
def test_a_screen_shows_no_more_than_fits(rows, shown):
    for number in range(8):
        Lock.create(f"lock{number}").close()
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}
    program = subprocess.Popen(
        [sys.executable, "-m", "samemap", "locks", "--watch", "10s"],
        stdin=theirs,
        stdout=theirs,
        env={**environment, "TERM": "xterm"},
        start_new_session=True,
    )
    seen = b""
    while not seen.endswith(b"\x1b[J"):
        seen += os.read(ours, 65536)
    program.kill()
    program.wait()
    os.close(ours)
    os.close(theirs)
    frame = seen.decode().rpartition("\x1b[H")[2].splitlines()[:-1]
    assert len(frame) == shown
    # Cleared before it is written: afterwards, that would take the last character of a line that is full.
    assert all(line.startswith("\x1b[2K") and line.count("\x1b[2K") == 1 for line in frame)
    assert ("more lines" in frame[-1]) is (rows < 10)
    if rows < 10:
        assert f"... {9 - shown + 1} more lines" in frame[-1]


def sight(**more: object) -> Sight:
    return Sight("", "Lock", "held", **more)


def hold(pid: int | None = 4711, **more: object) -> Hold:
    known = {
        "command": "python worker.py --queue urgent",
        "user": 1000,
        "alive": True,
        "is_here": True,
        "since": NOW - 5,
        "amount": 1,
        "thread": None,
        "role": "holder",
        "on_death": "next acquirer recovers",
    }
    return Hold(pid, **{**known, **more})


def plain(rows: list[Row], width: int | None) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines(rows, NOW, width)]


def test_a_command_is_cut_to_the_terminal():
    rows = [Row("jobs", "/d/jobs", sight(holds=(hold(),)))]
    assert plain(rows, None)[1].endswith("4711 python worker.py --queue urgent")
    cut = plain(rows, 70)
    assert len(cut) == 2
    assert len(cut[1]) == 70
    assert cut[1].endswith("  4711 python worker.py -…")


def test_where_the_terminal_is_narrow_holders_stand_below():
    rows = [
        Row("jobs", "/d/jobs", sight(holds=(hold(alive=False), hold(4712, amount=3)), recovered=2)),
        Row("idle", "/d/idle", Sight("", "Lock", "free", recovered=0)),
    ]
    assert plain(rows, 80) == [
        "NAME  KIND  STATE  SINCE  WAITING  RECOVERED",
        "jobs  Lock  held       -  -                2",
        "  held by 4711 died: next acquirer recovers python worker.py --queue urgent",
        "  held by 4712 ×3 python worker.py --queue urgent",  # noqa: RUF001
        "idle  Lock  free       -  -                0",
    ]
    assert max(map(len, plain(rows, 50))) == 50
    wide = plain(rows, 120)
    assert wide[1].endswith("  4711 died: next acquirer recovers python worker.py --queue urgent")
    assert wide[2].strip() == "4712 ×3 python worker.py --queue urgent"  # noqa: RUF001
    assert wide[2].index("4712") == wide[1].index("4711") == wide[0].index("HOLDER")


def test_pids_of_other_namespaces_and_the_forgotten_are_marked():
    held = (hold(7, is_here=False), hold(None, alive=False, command=""))
    (_, first, second) = plain([Row("jobs", "/d/jobs", sight(holds=held))], None)
    assert "7? python" in first
    assert second.strip() == "gone: next acquirer recovers"
    waiters = (Waiter(8, "", False, 1), Waiter(9, "", True, 2), Waiter(10, "", True, 1), Waiter(11, "", True, 1))
    (_, line) = plain([Row("jobs", "/d/jobs", sight(waiters=waiters))], None)
    assert "  5: 8? 9 10 …  " in line


def test_holders_are_red_when_dead_and_only_then():
    def line(alive: bool) -> str:
        return list(lines([Row("jobs", "/d/jobs", sight(holds=(hold(alive=alive),)))], NOW, None))[1]

    assert "\x1b[31m4711 died: next acquirer recovers\x1b[0m python" in line(False)
    assert "\x1b" not in line(True)
