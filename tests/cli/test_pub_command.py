"""`samemap pub`."""

from __future__ import annotations

import json
import os
import signal
import stat
from datetime import datetime
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import numpy as np
import pytest

from samemap import Latest, Topic
from samemap.cli.message_types import type_of
from samemap.typeinfo import describe

RECORD = [("x", "f4"), ("name", "S4"), ("at", "M8[s]"), ("cell", "u1", (2,))]


def values(topic: Topic) -> list[object]:
    return [sample.value for sample in topic.last()]


def test_each_value_is_a_message(run):
    with Topic("words") as topic:
        assert run("pub", "words", "Hello", "grüß 🜁").output == ""
        assert values(topic) == [b"Hello", "grüß 🜁".encode()]


def test_a_topic_is_made_when_asked_to(run, runtime_directory):
    result = run("pub", "words", "Hello")
    assert result.exit_code == 1
    assert "--wait 10s waits for it, --create makes one of bytes" in result.stderr
    run("pub", "words", "--create", "--slots", "3", "--max-message", "1K", "--perm", "640", "Hello")
    assert stat.S_IMODE((runtime_directory / "words").stat().st_mode) == 0o640
    with Topic.open("words") as topic:
        assert (topic.slots, topic.max_message, values(topic)) == (3, 1024, [b"Hello"])
        run("pub", "words", "--create", "again")
        assert values(topic) == [b"Hello", b"again"]
    result = run("pub", "words", "--create", "--slots", "4", "x")
    assert (result.exit_code, "made with slots=3, not slots=4" in result.stderr) == (1, True)


def test_create_takes_what_there_is(run):
    with Topic("numbers", shape=(), dtype="i4") as topic:
        assert run("pub", "numbers", "--create", "5").exit_code == 0
        assert values(topic) == [5]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--every", "1s"], "--every needs a VALUE to repeat"),
        (["--slots", "4", "x"], "add --create"),
        (["--perm", "644", "x"], "add --create"),
        (["--create", "--wait", "1s", "x"], "there is nothing to --wait for"),
        (["--file", "data", "x"], "it goes without VALUE"),
    ],
)
def test_options_that_make_no_sense(run, arguments, told):
    result = run("pub", "words", *arguments)
    assert (result.exit_code, told in result.stderr) == (2, True)


def test_hexadecimal_digits(run):
    with Topic("raw") as topic, Topic("numbers", dtype="i4") as numbers:
        run("pub", "raw", "--hex", "00 ff", "cafe")
        assert values(topic) == [b"\0\xff", b"\xca\xfe"]
        assert "'zz' is no message there" in run("pub", "raw", "--hex", "zz").stderr
        assert "--hex is for bytes" in run("pub", "numbers", "--hex", "00").stderr
        assert numbers.seq == 0


def test_all_are_looked_at_before_the_first_is_published(run):
    with Topic("words", max_message=10) as topic:
        result = run("pub", "words", "short", "much too long")
        assert result.exit_code == 1
        assert "'much too long' has 13 bytes, and a message there at most 10" in result.stderr
        assert topic.seq == 0


def test_bytes_that_are_no_text(samemap):
    with Topic("words") as topic:
        assert samemap("pub", "words", os.fsdecode(b"\xff\xfe")).wait() == 0
        assert values(topic) == [b"\xff\xfe"]


def test_lines_are_published_as_they_come(samemap):
    with Topic("words") as topic, topic.subscribe() as subscription:
        writer = samemap("pub", "words", "--json")
        for word in ("one", "two"):
            writer.stdin.write(word + "\n")
            writer.stdin.flush()
            assert subscription.recv(60).value == word.encode()
        output, told = writer.communicate()
        records = [json.loads(line) for line in output.splitlines()]
        assert [(record["name"], record["seq"]) for record in records] == [("words", 1), ("words", 2)]
        assert datetime.fromisoformat(records[0]["time"]).tzinfo is not None
        assert (told, writer.returncode) == ("", 0)


def test_a_file_is_one_message(run, tmp_path):
    file = tmp_path / "data"
    file.write_bytes(b"two\nlines\n")
    with Topic("words") as topic:
        run("pub", "words", "--file", str(file))
        run("pub", "words", "--file", "-", input="from\nelsewhere\n")
        assert values(topic) == [b"two\nlines\n", b"from\nelsewhere\n"]
    result = run("pub", "words", "--file", str(tmp_path / "none"))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def test_arrays_from_files(run, tmp_path):
    frame = np.arange(12, dtype="u1").reshape(3, 4)
    np.save(tmp_path / "frame.npy", frame)
    np.save(tmp_path / "other.npy", frame.astype("f8"))
    (tmp_path / "raw").write_bytes(frame.tobytes())
    (tmp_path / "text").write_text(json.dumps(frame.tolist()))
    with Topic("frames", shape=(3, 4), dtype="u1") as topic:
        for name in ("frame.npy", "raw", "text"):
            assert run("pub", "frames", "--file", str(tmp_path / name)).exit_code == 0, name
        assert all(np.array_equal(value, frame) for value in values(topic))
        assert topic.seq == 3
        result = run("pub", "frames", "--file", str(tmp_path / "other.npy"))
        assert "is no message there: a message has shape (3, 4) and dtype uint8, and this has" in result.stderr


def test_arrays_of_json(run):
    with Topic("pair", shape=2, dtype="f4") as pair, Topic("frame", shape=(2, 3), dtype="u1") as frame:
        run("pub", "pair", "[1, 2.5]", '["NaN", "-Infinity"]')
        assert values(pair)[0].tolist() == [1, 2.5]
        assert str(values(pair)[1]) == "[ nan -inf]"
        run("pub", "frame", "7")
        assert values(frame)[0].tolist() == [[7] * 3] * 2
        assert "from 0 to 255" in run("pub", "frame", "256").stderr
        assert "this has shape (2,)" in run("pub", "frame", "[1, 2]").stderr
        assert frame.seq == 1


def test_records_of_json(run):
    text = '{"x": 1.5, "name": "ab", "at": "2026-01-02T03:04:05", "cell": [1, 2]}'
    with Topic("record", shape=(), dtype=RECORD) as one, Topic("records", shape=2, dtype=RECORD[:2]) as two:
        run("pub", "record", text, '[1.5, "ab", "2026-01-02T03:04:05", [1, 2]]')
        first, second = values(one)
        assert first == second
        assert (first["x"], first["name"], str(first["at"])) == (1.5, b"ab", "2026-01-02T03:04:05")
        assert first["cell"].tolist() == [1, 2]
        # What echo prints can be published again.
        printed = json.loads(run("echo", "record", "--last", "1", "--json").output)["value"]
        run("pub", "record", json.dumps(printed))
        assert values(one)[-1] == first
        run("pub", "records", '[{"x": 1, "name": "a"}, {"x": 2, "name": "b"}]', '{"x": 3, "name": "c"}')
        assert [value["x"].tolist() for value in values(two)] == [[1, 2], [3, 3]]
        result = run("pub", "record", '{"x": 1, "nam": "a"}')
        assert "a record has the fields x, name, at, cell; what does not fit: at, cell, nam, name" in result.stderr


@pytest.mark.parametrize("value", ["[1, 2", "word", "[" * 100_000, '{"a": 1}', "null", "[[1], [2, 3]]"])
def test_what_is_no_array_is_refused_in_one_line(run, value):
    with Topic("pair", shape=2, dtype="f4") as topic:
        result = run("pub", "pair", value)
        assert (result.exit_code, result.stderr.count("\n"), topic.seq) == (1, 1, 0)
        assert "is no message there" in result.stderr


def test_a_newest_value_is_set(run):
    with Latest("state", shape=2, dtype="f8") as state, Latest("text") as text:
        run("pub", "state", "[1, 2]", "[3, 4]")
        assert (state.seq, state.get().tolist()) == (2, [3, 4])
        run("pub", "text", "on")
        assert text.get() == b"on"
        assert "to which nobody subscribes" in run("pub", "text", "--wait-subscribers", "1", "x").stderr


def test_pickles_are_for_programs(run):
    with Topic("things", codec="pickle") as topic:
        assert "which only a program can make" in run("pub", "things", "1").stderr
        assert topic.seq == 0


def test_every_publishes_in_turn(samemap):
    with Topic("words") as topic, topic.subscribe("block") as subscription:
        writer = samemap("pub", "words", "--every", "10ms", "--count", "5", "-v", "tick", "tock")
        assert [subscription.recv(60).value for _ in range(5)] == [b"tick", b"tock"] * 2 + [b"tick"]
        assert writer.communicate()[1].splitlines() == [f"published as number {n}" for n in range(1, 6)]


def test_ctrl_c_ends_quietly(samemap):
    with Topic("words") as topic, topic.subscribe() as subscription:
        writer = samemap("pub", "words", "--every", "1h", "tick")
        subscription.recv(60)
        writer.send_signal(signal.SIGINT)
        assert (writer.wait(), writer.stderr.read()) == (130, "")


def test_it_waits_for_subscribers(samemap, run):
    with Topic("words") as topic:
        result = run("pub", "words", "--wait-subscribers", "2", "--timeout", "30ms", "x")
        assert "0 of 2 subscriptions were there within 0.03 s; 'samemap stat' tells whose" in result.stderr
        assert topic.seq == 0
        writer = samemap("pub", "words", "--wait-subscribers", "2", "Hello")
        with topic.subscribe() as first, topic.subscribe() as second:
            assert (first.recv(60).value, second.recv(60).value) == (b"Hello", b"Hello")
        assert writer.wait() == 0


def test_want_of_a_slot_is_told_in_one_line(run):
    with Topic("words", slots=2, max_message=10_000) as topic, topic.subscribe() as subscription:
        kept = [topic.publish(bytes(10_000)) and subscription.recv() for _ in range(2)]
        result = run("pub", "words", "--timeout", "30ms", "x")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert f"no free slot of 2: slot 0 (message 1): pinned by pid {os.getpid()} " in result.stderr
        assert result.stderr.endswith("; release samples sooner, read faster, or make it with more slots\n")
        assert len(kept) == 2


def test_it_goes_over_to_another_topic_of_that_name(samemap):
    with Topic("words") as first:
        writer = samemap("pub", "words")
        with first.subscribe() as subscription:
            writer.stdin.write("old\n")
            writer.stdin.flush()
            assert subscription.recv(60).value == b"old"
        first.unlink()
        with Topic.create("words") as second, second.subscribe() as subscription:
            writer.stdin.write("new\n")
            writer.stdin.flush()
            assert subscription.recv(60).value == b"new"
            second.unlink()
            writer.stdin.write("lost\n")
            writer.stdin.flush()
            assert writer.wait() == 1
            assert "somebody has removed it meanwhile; --create makes it again" in writer.stderr.read()


def test_one_that_was_removed_is_made_again(samemap, runtime_directory):
    writer = samemap("pub", "words", "--create", "--every", "10ms", "tick")
    with Topic.open("words", wait=60) as first:
        first.unlink()
    with Topic.open("words", wait=60) as second:
        assert second.subscribe(history=1).recv(60).value == b"tick"
    writer.send_signal(signal.SIGINT)
    assert writer.wait() == 130


class Inner(msgspec.Struct, tag="inner"):
    n: int


class Other(msgspec.Struct, tag="other"):
    n: str


class Node(msgspec.Struct):
    kind: Literal["a", 1]
    either: Inner | Other | None
    kids: list[Node]
    pairs: dict[str, tuple[int, ...]]
    raw: bytes = b""


class Point(NamedTuple):
    x: float
    y: float


Odd = TypedDict("Odd", {"my-field": int, "class": str, "maybe": NotRequired[set[int]]})

NODE = '{"kind": "a", "either": {"type": "inner", "n": 1}, "kids": [], "pairs": {"a": [1, 2]}, "raw": "YWI="}'


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Node, NODE, Node("a", Inner(1), [], {"a": (1, 2)}, b"ab")),
        (
            Node,
            NODE.replace("[]", f"[{NODE}]"),
            Node("a", Inner(1), [Node("a", Inner(1), [], {"a": (1, 2)}, b"ab")], {"a": (1, 2)}, b"ab"),
        ),
        (Point, "[1, 2.5]", Point(1, 2.5)),
        (Odd, '{"my-field": 1, "class": "x"}', {"my-field": 1, "class": "x"}),
        (Odd, '{"my-field": 1, "class": "x", "maybe": [1]}', {"my-field": 1, "class": "x", "maybe": {1}}),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (int | None, "null", None),
        (str, '"text"', "text"),
    ],
)
def test_typed_messages_are_what_the_type_reads(run, kind, text, value):
    with Topic("typed", type=kind) as topic:
        result = run("pub", "typed", text)
        assert (result.exit_code, result.stderr) == (0, "")
        found = topic.last()[0].value
        assert found == value


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (Node, NODE.replace('"n": 1', '"n": "x"'), "Expected `int`, got `str` - at `$.either.n`"),
        (Node, NODE.replace('"inner"', '"none"'), "Invalid value 'none'"),
        (Node, NODE.replace(', "raw": "YWI="', ""), "missing required field `raw`"),
        (Node, NODE.replace('"a", "either"', '"b", "either"'), "Invalid enum value 'b'"),
        (Odd, '{"my-field": 1, "class": "x", "more": 2}', "unknown field `more`"),
        (Point, '{"x": 1, "y": 2}', "Expected `array`, got `object`"),
        (Node, NODE.replace("[]", "[" + NODE.replace('"n": 1', '"n": "x"') + "]"), "got `str` - at `$.kids["),
        (dict[str, int], '{"a": 1', "truncated"),
    ],
)
def test_typed_messages_that_the_type_could_not_read_are_refused(run, kind, text, told):
    with Topic("typed", type=kind) as topic:
        result = run("pub", "typed", text)
        assert (result.exit_code, told in result.stderr, topic.seq) == (1, True, 0), result.stderr


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "list[", "types": {}},
        {"type": "A", "types": {"A": "nonsense"}},
        {"type": "A", "types": {"A": {"x": "int["}}},
        {"type": "__import__('os').abort()", "types": {}},
        {"type": "list[" * 250 + "int" + "]" * 250, "types": {}},
        {"type": "Frozen[int]", "types": None},
    ],
)
def test_descriptions_that_cannot_be_read_let_everything_pass(schema):
    assert type_of(schema) is Any


def test_descriptions_are_read_as_they_are_written():
    assert type_of(describe(list[dict[str, int | None]])) == list[dict[str, int | None]]
