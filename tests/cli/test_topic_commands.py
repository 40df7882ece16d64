"""``samemap pub``, ``echo``, ``hz``, ``bw``, ``delay``, ``view``: as a person would use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from samemap import Latest, Topic

pytestmark = pytest.mark.usefixtures("runtime_directory")


def samemap(*arguments: str, status: int = 0, text: str = "") -> tuple[str, str]:
    """Run the command, insist on its exit status, and return what it printed."""
    line = [sys.executable, "-m", "samemap", *arguments]
    done = subprocess.run(line, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def test_what_is_published_is_echoed() -> None:
    samemap("pub", "words", "--create", "--slots", "4", "hello", "world")
    out, _ = samemap("echo", "words", "--last", "5")
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2"]
    assert out.split()[-1] == "world"
    samemap("pub", "words", "--hex", "ff00")
    samemap("pub", "words", text="a line\nanother\n")
    out, _ = samemap("echo", "words", "--last", "2", "--json")
    assert [json.loads(line)["value"] for line in out.splitlines()] == ["a line", "another"]
    with Topic.open("words") as topic:
        assert topic.seq == 5
        assert topic.last(3)[0].value == b"\xff\x00"


def test_values_are_json_for_arrays_and_records() -> None:
    with Topic("rec", shape=(), dtype=[("x", "f4"), ("y", "i4")]) as records, Latest("v", dtype="f8", shape=2) as value:
        _, told = samemap("pub", "rec", "-v", '{"x": 1.5, "y": 2}', "[0.5]", status=1)
        assert records.seq == 0, "all are looked at before the first is published"
        samemap("pub", "rec", '{"x": 1.5, "y": 2}')
        assert records.last()[0].value.item() == (1.5, 2)
        out, _ = samemap("echo", "rec", "--last", "1", "--json")
        assert json.loads(out)["value"] == {"x": 1.5, "y": 2}
        samemap("pub", "v", "[3, 4]")
        assert value.get().tolist() == [3, 4]
        _, told = samemap("pub", "rec", '{"x": 1, "z": 2}', status=1)
        assert "x, y" in told
        assert "z" in told


def test_rates_come_from_counts_and_nobody_subscribes() -> None:
    with Topic("words", max_message=10_000) as topic, topic.subscribe() as subscription:
        line = [sys.executable, "-m", "samemap", "hz", "words", "--every", "1s", "--count", "2", "--json"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as command:
            assert command.stdout is not None
            while command.poll() is None:
                topic.publish(bytes(10_000), 10)
                subscription.recv(10).release()
                assert len(topic.subscribers()) == 1
                assert [who.pid for who in topic.participants()] == [os.getpid()]
            looks = [json.loads(each) for each in command.stdout]
        assert all(look["messages_per_second"] > 10 for look in looks)
        assert looks[0]["publishers"][0]["pid"] == os.getpid()
        out, _ = samemap("bw", "words", "--every", "50ms", "--count", "1")
        assert "no new messages" in out
        out, _ = samemap("delay", "words", "--every", "50ms", "--count", "1")
        assert "no new messages" in out
        assert f"pid {os.getpid()}" in out


def test_a_frame_becomes_a_picture(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    with Topic("cam", shape=(20, 30, 3), dtype="u1") as topic:
        _, told = samemap("view", "cam", status=1)
        assert "no frame yet" in told
        frame = np.zeros((20, 30, 3), "u1")
        frame[:10, :, 0] = 255
        topic.publish(frame)
        samemap("view", "cam", "-o", str(tmp_path / "frame.png"))
        with image.open(tmp_path / "frame.png") as picture:
            assert np.array_equal(np.asarray(picture), frame)
        samemap("view", "cam", "--bgr", "-o", str(tmp_path / "other.png"))
        with image.open(tmp_path / "other.png") as picture:
            assert np.array_equal(np.asarray(picture), frame[:, :, ::-1])
        out, _ = samemap("view", "cam", "--ascii")
        *drawn, about = out.splitlines()
        assert drawn[0].strip()
        assert not drawn[-1].strip()
        assert about.startswith("cam: number 1, uint8 (20, 30, 3), ")


@dataclass
class Blob:
    name: str
    raw: bytes


def test_typed_messages_are_what_their_type_can_read() -> None:
    with Topic("typed", type=Blob) as topic:
        samemap("pub", "typed", '{"name": "a", "raw": "AQI="}')
        assert topic.last()[0].value == Blob("a", b"\x01\x02")
        _, told = samemap("pub", "typed", '{"name": 5, "raw": ""}', status=1)
        assert "typed" in told
        assert "Traceback" not in told
        _, told = samemap("view", "typed", status=1)
        assert "codec msgspec" in told


def test_numbers_that_do_not_fit_are_refused_in_words() -> None:
    with Topic("small", dtype="i1", shape=3) as topic:
        for value in ("[1, 2, 3.7]", "[1, null, 3]", "[1, 2, 300]", "no json"):
            _, told = samemap("pub", "small", value, status=1)
            assert value in told
            assert "Traceback" not in told
        assert topic.seq == 0


def test_rates_go_over_to_a_topic_that_is_made_again() -> None:
    with Topic("again") as first:
        first.publish(b"x")
        line = [sys.executable, "-m", "samemap", "hz", "again", "--every", "200ms", "--count", "12", "--json"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as command:
            assert command.stdout is not None
            command.stdout.readline()
            first.unlink()
            with Topic.create("again") as second:
                while command.poll() is None:
                    second.publish(b"y")
                looks = [json.loads(each) for each in command.stdout]
        assert looks[-1]["messages_per_second"] > 0


def test_what_is_no_number_says_nothing_of_the_others(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    with Topic("depth", dtype="f4", shape=(2, 2)) as topic:
        topic.publish(np.array([[0, 10], [np.nan, np.inf]], "f4"))
        _, told = samemap("view", "depth", "-o", str(tmp_path / "depth.png"))
        assert told == ""
        with image.open(tmp_path / "depth.png") as picture:
            assert np.asarray(picture).tolist() == [[0, 255], [0, 255]]


@pytest.mark.parametrize("command", ["echo", "pub", "hz", "bw", "delay", "view"])
def test_what_is_no_topic_is_refused(command: str, runtime_directory: Path) -> None:
    more = ["x"] if command == "pub" else []
    _, told = samemap(command, "missing", *more, status=1)
    assert "missing" in told
    (runtime_directory / "text").write_bytes(b"just text")
    _, told = samemap(command, "text", *more, status=1)
    assert "no topic" in told
