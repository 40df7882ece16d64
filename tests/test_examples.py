"""The examples do what they say, each in processes of its own."""

from __future__ import annotations

import itertools
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import EXAMPLES, interrupted, line, output

Start = Callable[..., subprocess.Popen[str]]

ALONE = {
    "parent_child": "child reads: Hello, child\nparent reads: Hello, parent\n",
    "anonymous": "child reads: 42\nparent reads: 43 -1\n",
    "growing": "the child read 1000 lines and sees 32768 bytes\nthe parent wrote 1000 lines and has 32768 bytes\n",
    "lock": "held by the child: True\nrecovered: True\nbalance and bookings: 100 1\n",
    "workers": "exit statuses: [0, 0, 0, 0]\ndone at least 100: True - desks free: 2\n",
    "async_lock": "sum: 100 - threads: 2\nheld by this process: True\n",
    "frames": "looked at 100 frames of 921600 bytes, none copied\n",
    "pool": "frame 13 is lost: exit code -9\nthe others: 19\n",
    "typed": "the robot goes to (3.0, 4.0)\nthe robot stops: a wall\n",
}
TOGETHER = {
    "writer",
    "reader",
    "handle_over_socket",
    "bell",
    "queue_producer",
    "queue_worker",
    "service_server",
    "service_client",
}
#: tests/test_example_pipeline.py runs these.
PIPELINE = {"camera", "detector", "recorder", "live_view", "web_stream", "sensor", "dashboard"}


def test_no_example_is_forgotten() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(ALONE) | TOGETHER | PIPELINE


@pytest.mark.parametrize(("name", "said"), ALONE.items())
def test_example_alone(name: str, said: str, example: Start, runtime_directory: Path) -> None:
    assert output(example(name)) == said
    assert list(runtime_directory.iterdir()) == []


def test_reader_and_writer_meet_whoever_comes_first(example: Start) -> None:
    early = example("reader", 4)
    writer = example(
        "writer",
        0.02,
        # A shell that starts the tests in the background ignores SIGINT, and so would its grandchildren.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert sorted(set(output(early).split())) == ["Hello", "World"]
    lines = output(example("reader", 6)).split()
    assert lines in (["Hello", "World"] * 3, ["World", "Hello"] * 3)
    writer.send_signal(signal.SIGINT)
    _, err = writer.communicate(timeout=60)
    assert err.endswith("KeyboardInterrupt\n")


def test_reader_shows_what_the_command_line_writes(example: Start, start: Start) -> None:
    reader = example("reader", 2)
    for word in itertools.cycle(["Hello", "World"]):
        if reader.poll() is not None:
            break
        output(start(sys.executable, "-m", "samemap", "write", "words", word))
    assert sorted(output(reader).split()) == ["Hello", "World"]


def test_handle_over_socket(example: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    offering = example("handle_over_socket", path)
    assert offering.stdout is not None
    assert offering.stdout.readline() == "offering\n"
    assert output(example("handle_over_socket", path)) == ""
    assert output(offering) == "the stranger wrote: Hello from somewhere else\n"
    assert not path.exists()


def test_bell_rings_in_c(example: Start, tmp_path: Path, runtime_directory: Path) -> None:
    program = tmp_path / "bell"
    line = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-std=c11", "-o", str(program)]
    subprocess.run([*line, str(EXAMPLES / "c" / "bell.c")], check=True, timeout=100)
    assert output(example("bell", program)) == "1000 times there and back, exit status 0\n"
    assert list(runtime_directory.iterdir()) == []


def test_bell_tells_of_a_c_program_that_fails(example: Start, runtime_directory: Path) -> None:
    bell = example("bell", "/bin/false")
    out, err = bell.communicate(timeout=60)
    assert (bell.returncode, out) == (1, "")
    assert err == "the C program ended early, with status 1\n"
    assert list(runtime_directory.iterdir()) == []


def test_queue_workers_share_the_numbers_and_take_over_from_the_dead(example: Start, runtime_directory: Path) -> None:
    dead, living = example("queue_worker"), example("queue_worker")
    producer = example("queue_producer", 150)
    lines = [line(dead), line(living)]
    dead.kill()
    assert dead.stdout is not None
    # It may have died in the middle of a line.
    lines += [text for text in dead.stdout.read().splitlines(keepends=True) if text.endswith("\n")]
    assert output(producer).startswith("all 150 done; came back from workers: ")
    # Not by communicate(), which would not know of what was read ahead with the first line.
    assert living.stdout is not None
    lines += living.stdout.read().splitlines()
    assert living.wait(60) == 0
    found = {}
    for text in lines:
        told = re.fullmatch(r"(\d+) = ([\d x]+) \(attempt [12]\)\n?", text)
        assert told, text
        assert math.prod(map(int, told[2].split(" x "))) == int(told[1])
        found[told[1]] = told[2]
    assert len(found) == 150
    assert list(runtime_directory.iterdir()) == []


def test_queue_worker_ends_quietly_at_ctrl_c(example: Start) -> None:
    producer, worker = example("queue_producer", 10**9), example("queue_worker")
    assert " = " in line(worker)
    interrupted(worker)
    producer.kill()


def test_a_client_meets_servers_that_come_and_go(example: Start) -> None:
    first = example("service_server")
    assert line(first) == "serving"
    client = example("service_client", 300)
    assert line(client) == "the first one is found"
    first.kill()
    first.wait()
    second, third = example("service_server"), example("service_server", 2)
    found = re.fullmatch(r"all 300 found; asked again: (\d+)\n", output(client))
    assert found
    assert int(found[1]) <= 1
    for server in (second, third):
        assert line(server) == "serving"
        assert interrupted(server) == ""
