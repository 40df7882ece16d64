"""`samemap top`: a table for logs, JSON for programs, and a screen."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from samemap import Event, Lock, Region, Topic
from samemap.cli.history import History
from samemap.cli.sampling import Counts, Sample, samples
from samemap.cli.top_screen import TopScreen
from samemap.cli.top_table import Order

LARGE = 10_000

#: Publishes until it is killed; says so when it has begun.
PUBLISHER = "topic = Topic('feed', max_message=10_000)\ntopic.publish(bytes(10_000))\n"
PUBLISHER += "def go():\n    while True: topic.publish(bytes(10_000)); time.sleep(0.001)\n"
PUBLISHER += "threading.Thread(target=go, daemon=True).start()"

SHORT = ("--interval", "50ms")


def records(output: str) -> dict[str, dict[str, object]]:
    return {record["name"]: record for record in map(json.loads, output.splitlines())}


def test_a_snapshot_for_programs(run, doing):
    publisher = doing(PUBLISHER)
    with Topic.open("feed") as topic, topic.subscribe():
        result = run("top", "--json", "--interval", "300ms")
        assert (result.exit_code, result.stderr) == (0, "")
        found = records(result.output)["feed"]
    assert (found["kind"], found["attached"], found["dead"], found["depth"]) == ("Topic", 2, 0, None)
    assert found["messages_per_second"] > 0
    assert found["bytes_per_second"] == pytest.approx(LARGE * found["messages_per_second"], rel=0.2)
    assert found["lag"] > 0
    assert found["seconds"] >= 0.3
    assert {(member["pid"], member["role"]) for member in found["participants"]} >= {(publisher.pid, "publisher")}
    assert found["topic"]["publishers"][0]["pid"] == publisher.pid


def test_a_table_where_there_is_no_terminal(run):
    lock = Lock("jobs")
    lock.acquire()
    Region.create("raw", 4096).close()
    for more in ([], ["--once"]):
        result = run("top", *SHORT, *more)
        assert (result.exit_code, result.stderr) == (0, "")
        heading, *lines = result.output.splitlines()
        assert heading.split() == [
            *("NAME", "KIND", "SIZE", "MSG/S", "BYTES/S", "DEPTH", "LAG", "ATTACHED", "HELD", "BY", "DROPS", "WAITING")
        ]
        assert re.fullmatch(rf"jobs  Lock +28\.1K +- +- +- +- +1  {os.getpid()} <1 s +- +0", lines[0])
        assert re.fullmatch(r"raw   region +4K( +-){7} +0", lines[1])
        assert "\x1b" not in result.output


def test_order_and_filter(run):
    for name in ("a10", "a2", "b1"):
        Lock.create(name).close()
    with Topic("feed"):
        shown = [record["name"] for record in map(json.loads, run("top", "--json", *SHORT).output.splitlines())]
        assert shown == ["a2", "a10", "b1", "feed"]
        shown = run("top", "--json", *SHORT, "--filter", "a lock", "--reverse").output.splitlines()
        assert [json.loads(line)["name"] for line in shown] == ["a10", "a2"]
        shown = run("top", "--json", *SHORT, "--sort", "size").output.splitlines()
        assert json.loads(shown[0])["name"] == "feed"
        assert list(records(run("top", "--json", *SHORT, "b1", "feed").output)) == ["b1", "feed"]


def test_damage_is_shown_and_told(run, runtime_directory):
    Lock.create("jobs").close()
    Lock.create("cut").close()
    os.truncate(runtime_directory / "cut", 5000)
    result = run("top", "--once", *SHORT)
    assert result.exit_code == 1
    assert re.search(r"^cut +\? damaged ", result.stdout, re.MULTILINE)
    assert result.stderr.startswith(f"samemap top: {runtime_directory}/cut: ")
    assert result.stderr.count("\n") == 1
    result = run("top", "--once", *SHORT, "none", "jobs")
    assert (result.exit_code, "none: No such file or directory; 'samemap ls'" in result.stderr) == (1, True)
    result = run("top", "--json", *SHORT)
    assert records(result.stdout)["cut"]["problem"] in result.stderr


def test_nothing_is_no_error(run):
    assert (run("top", "--once", *SHORT).output, run("top", "--json", *SHORT).exit_code) == ("", 0)


MAIN = "from samemap.cli import main; main()"


@pytest.mark.parametrize("command", [("top", "--json", *SHORT), ("why", "--json")])
def test_the_permission_to_read_a_file_of_another_user_is_enough(nobody, shared, command):
    path = shared / "feed"
    with Topic(path) as topic, topic.subscribe():
        topic.publish(b"x")
        # Of a third user, and for a group that the other user is in.
        os.fchown(topic._segment.fileno(), 12345, 65534)
        os.fchmod(topic._segment.fileno(), 0o440)
        assert "; --any-owner accepts that" in nobody(*command, str(path)).communicate()[1]
        told, problem = nobody(*command, str(path), "--any-owner").communicate()
        assert (json.loads(told)["kind"], problem) == ("Topic", "")
        assert [who.pid for who in topic.participants()] == [os.getpid()]


def on_a_terminal(*arguments: str, source: str = MAIN) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 140, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}
    program = subprocess.Popen(
        [sys.executable, "-c", source, "top", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
        start_new_session=True,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (1, 2, 15)],
    )
    os.close(theirs)
    return program, ours


def read_on(fd: int, until: bytes = b"\0never\0") -> bytes:
    shown = b""
    while until not in shown:
        try:
            shown += os.read(fd, 65536)
        except OSError:
            break
    return shown


def test_without_textual_the_cure_is_told(runtime_directory):
    program, ours = on_a_terminal(source=f"import sys; sys.modules['textual'] = None; {MAIN}")
    told = read_on(ours)
    os.close(ours)
    assert program.wait() == 1
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", told).decode().strip()
    assert plain.endswith(
        "the screen needs textual, which is missing: pip install 'samemap[top]', or --once for a table"
    )


@pytest.mark.parametrize(("end", "status"), [(b"q", 0), (b"\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_terminal_is_given_back(end, status):
    Lock.create("jobs").close()
    program, ours = on_a_terminal(*SHORT)
    assert b"\x1b[?1049h" in read_on(ours, b"jobs")
    if isinstance(end, bytes):
        os.write(ours, end)
    else:
        program.send_signal(end)
    assert b"\x1b[?1049l" in read_on(ours)
    os.close(ours)
    assert program.wait() == status


# The screen


def shown(app: TopScreen) -> list[list[str]]:
    table = app.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(line)] for line in range(table.row_count)]


def names(app: TopScreen) -> list[str]:
    return [row[0] for row in shown(app)]


def text(app: TopScreen, which: str) -> str:
    return str(app.query_one(which, Static).render())


def play(
    scene: Callable[[TopScreen, Pilot[object]], Awaitable[None]],
    look: Callable[[], object] = lambda: samples(()),
    **more: object,
) -> None:
    """Show the screen, which looks when it is told to only, and play a scene on it."""

    async def run() -> None:
        app = TopScreen(History(look), 3600.0, **{"order": Order(), **more})  # type: ignore[arg-type]
        async with app.run_test(size=(150, 40)) as pilot:
            await app.look()
            await pilot.pause()
            await scene(app, pilot)

    asyncio.run(run())


def test_the_screen_shows_what_is_there():
    lock = Lock("jobs")
    lock.acquire()

    async def scene(app, pilot):
        assert names(app) == ["jobs"]
        assert f"{os.getpid()} <1 s" in shown(app)[0]
        with Topic("feed") as topic:
            await app.look()
            assert names(app) == ["feed", "jobs"]
            topic.publish(b"x")
            await app.look()
            assert float(shown(app)[0][3].replace(",", "")) > 0
            # Something in the last part of the last minute.
            assert shown(app)[0][5][-1] not in " ▁"
            topic.unlink()
        await app.look()
        assert names(app) == ["jobs"]
        assert text(app, "#summary").startswith("samemap top: 1 segments; every")

    play(scene)


def test_keys():
    counts = {"a": 10, "b": 10, "c": 10}
    step = {"a": 5, "b": 9, "c": 1}

    def look():
        for name in counts:
            counts[name] += step[name]
            yield Sample(name, f"/{name}", "Topic", len(name), "1", counts=Counts(counts[name], 0, 0))

    async def scene(app, pilot):
        await app.look()
        assert names(app) == ["a", "b", "c"]
        await pilot.press("down", "s", "s", "s")
        assert names(app) == ["b", "a", "c"]
        # The cursor stays on the segment.
        assert app.query_one(DataTable).cursor_row == 0
        assert "▼" in str(app.query_one(DataTable).ordered_columns[3].label)
        await pilot.press("r")
        assert names(app) == ["c", "a", "b"]
        assert "by rate, reversed" in text(app, "#summary")
        await pilot.press("p")
        before = shown(app)
        step["c"] = 1000
        await app.look()
        assert shown(app) == before
        assert "PAUSED" in text(app, "#summary")
        await pilot.press("p")
        assert names(app) == ["a", "b", "c"]
        await pilot.press("q")

    play(scene, look)


def test_filtering():
    for name in ("jobs", "mail", "stop"):
        Lock.create(name).close()

    async def scene(app, pilot):
        assert names(app) == ["mail"]
        await pilot.press("escape")
        assert names(app) == ["jobs", "mail", "stop"]
        # Keys are text there: s does not sort, nor q quit.
        await pilot.press("slash", "s", "t", "q")
        assert names(app) == []
        await pilot.press("backspace")
        assert names(app) == ["stop"]
        assert "1 of 3 segments" in text(app, "#summary")
        await pilot.press("enter", "s")
        assert names(app) == ["stop"]
        assert "by kind" in text(app, "#summary")

    play(scene, words="mai")


def test_details(doing):
    with Event("stop") as stop, Topic("feed", slots=4, max_message=LARGE) as topic, topic.subscribe() as subscription:
        topic.publish(bytes(LARGE))
        kept = subscription.recv()

        async def scene(app, pilot):
            assert not app.query_one("#details").has_class("shown")
            await pilot.press("enter")
            await pilot.pause()
            told = text(app, "#told")
            for part in (
                f"path        {topic.path}",
                f"pid {os.getpid()}, both, joined",
                "4 of 9.8K: 1 pinned, 0 being filled",
                "1 received, 0 missed, 0 behind, 1 pinned",
                f"held by     {os.getpid()} <1 s, subscriber",
            ):
                assert part in told
            await pilot.press("down")
            await pilot.pause()
            assert "state       clear" in text(app, "#told")
            await pilot.press("tab")
            assert app.focused is app.query_one("#details")
            await pilot.press("d")
            assert not app.query_one("#details").has_class("shown")
            assert app.focused is app.query_one(DataTable)

        play(scene)
        assert (kept.seq, stop.is_set()) == (1, False)


def test_damage_never_ends_the_screen(runtime_directory):
    Lock.create("jobs").close()

    async def scene(app, pilot):
        os.truncate(runtime_directory / "jobs", 5000)
        await app.look()
        assert shown(app)[0][1] == "? damaged"
        assert "1 cannot be looked at" in text(app, "#summary")
        await pilot.press("enter")
        await pilot.pause()
        assert "problem     " in text(app, "#told")
        Path(runtime_directory / "jobs").unlink()
        await app.look()
        await pilot.pause()
        assert names(app) == []
        assert text(app, "#told") == "nothing is chosen"

    play(scene)


def test_an_unsafe_runtime_directory_ends_it(runtime_directory):
    async def scene(app, pilot):
        runtime_directory.chmod(0o777)
        await app.look()
        assert isinstance(app.return_value, PermissionError)

    play(scene)
