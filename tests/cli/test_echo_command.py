"""`samemap echo`."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from samemap import Latest, Topic

LARGE = 10_000
HEAD = re.compile(r" *\d+  \d\d:\d\d:\d\d\.\d{3}  (.*)")


def shown(output: str) -> list[str]:
    """Return what stands after the number and the time of each message."""
    return [line if line.startswith("      ") else HEAD.fullmatch(line)[1] for line in output.splitlines()]


def records(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        (b"Hello", ["Hello"]),
        ("grüß 🜁\n".encode(), ["grüß 🜁"]),
        (b"two\nlines\ta", [r"two\nlines\ta"]),
        (b"red\x1b[31m", ["8 bytes  72 65 64 1b 5b 33 31 6d  |red.[31m|"]),
        (b"", ["0 bytes"]),
        (b"\0", ["1 byte  00  |.|"]),
        (
            bytes(range(0xF0, 0x100)) + b"a",
            [
                "17 bytes",
                "      00000000  f0 f1 f2 f3 f4 f5 f6 f7  f8 f9 fa fb fc fd fe ff  |................|",
                "      00000010  61                                                |a|",
            ],
        ),
    ],
)
def test_bytes_are_shown_as_text_or_as_a_hexdump(run, message, lines):
    with Topic("words") as topic:
        topic.publish(message)
        assert shown(run("echo", "words", "--last", "1").output) == lines


def test_a_long_hexdump_ends(run):
    with Topic("words") as topic:
        topic.publish(bytes(1000))
        assert shown(run("echo", "words", "--last", "1").output)[-1] == "      ... 936 more"


@pytest.mark.parametrize(
    ("shape", "dtype", "value", "text", "plain"),
    [
        ((), "f4", 0.1, "0.1", 0.1),
        ((), "i8", -5, "-5", -5),
        (3, "f8", [0.1, 1 / 3, float("nan")], "float64 (3,) [0.1 0.333333 nan]", [0.1, 1 / 3, "NaN"]),
        ((2, 2), "?", [[True, False]] * 2, "bool (2, 2) [[True False] [True False]]", [[True, False]] * 2),
        (2, "S3", [b"ab", b"\0\xff"], r"bytes24 (2,) [b'ab' b'\x00\xff']", ["ab", {"size": 2, "base64": "AP8="}]),
        ((), "M8[s]", "2026-01-02T03:04:05", "2026-01-02T03:04:05", "2026-01-02T03:04:05"),
        (1, "c16", [1 + 2j], "complex128 (1,) [(1+2j)]", ["(1+2j)"]),
    ],
)
def test_arrays_are_shown_with_their_elements(run, shape, dtype, value, text, plain):
    with Topic("arrays", shape=shape, dtype=dtype) as topic:
        topic.publish(np.array(value, dtype))
        assert shown(run("echo", "arrays", "--last", "1").output) == [text]
        assert records(run("echo", "arrays", "--last", "1", "--json").output)[0]["value"] == plain


def test_large_arrays_are_summarised(run):
    with Topic("camera", shape=(480, 640, 3), dtype="u1") as topic:
        frame = np.zeros((480, 640, 3), "u1")
        frame[-1, -1] = 9
        topic.publish(frame)
        line = "uint8 (480, 640, 3) [[[0 0 0] ... [0 0 0]] ... [[0 0 0] ... [9 9 9]]]"
        assert shown(run("echo", "camera", "--last", "1").output) == [line]
        (record,) = records(run("echo", "camera", "--last", "1", "--json").output)
        assert record["value"] == {"dtype": "|u1", "shape": [480, 640, 3], "size": 921_600}
        (record,) = records(run("echo", "camera", "--last", "1", "--json", "--base64").output)
        assert record["value"]["base64"].startswith("AAAA")
        (record,) = records(run("echo", "camera", "--last", "1", "--json", "--limit", "921600").output)
        assert np.array_equal(record["value"], frame)


def test_records_are_shown_as_fields(run):
    pose = [("x", "f4"), ("name", "U8"), ("cell", "u1", (2,)), ("at", [("ok", "?")])]
    with Topic("pose", shape=(), dtype=pose) as one, Topic("poses", shape=20, dtype=pose[:2]) as many:
        one.publish((1.5, "left", (1, 2), (True,)))
        assert shown(run("echo", "pose", "--last", "1").output) == ["x=1.5 name='left' cell=[1 2] at=(ok=True)"]
        (record,) = records(run("echo", "pose", "--last", "1", "--json").output)
        assert record["value"] == {"x": 1.5, "name": "left", "cell": [1, 2], "at": {"ok": True}}
        many.publish(np.zeros(20, pose[:2]))
        line = "{x, name} (20,) [(x=0.0 name='') ... (x=0.0 name='')]"
        assert shown(run("echo", "poses", "--last", "1").output) == [line]


def test_typed_messages_are_shown_nearly_as_json(run):
    with Topic("typed", type=dict[str, Any]) as topic:
        topic.publish({"x": 1.5, "tags": ["ü", None, True], "raw": b"\0" * 20})
        assert shown(run("echo", "typed", "--last", "1").output) == [
            '{"x": 1.5, "tags": ["ü", null, true], "raw": b\'' + r"\x00" * 16 + "'... (20 bytes)}"
        ]
        (record,) = records(run("echo", "typed", "--last", "1", "--json").output)
        assert record["value"]["tags"] == ["ü", None, True]
        assert record["value"]["raw"] == {"size": 20, "base64": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}


class Bomb:
    """Does something when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_pickles_are_shown_when_asked_for_only(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Topic("things", codec="pickle") as topic:
        topic.publish({"id": 7, "image": np.arange(3)})
        topic.publish(Bomb())
        for more in ([], ["--json"]):
            output = run("echo", "things", "--last", "2", *more).output
            assert not (tmp_path / "unpickled").exists()
            assert len(output.splitlines()) == 2
        assert records(output)[0]["value"] == {"pickle": records(output)[0]["size"]}
        assert "--pickle shows it, if you trust all who can publish here" in run("echo", "things", "--last", "1").output
        first, second = shown(run("echo", "things", "--last", "2", "--pickle").output)
        assert first == '{"id": 7, "image": int64 (3,) [0 1 2]}'
        assert (second, (tmp_path / "unpickled").exists()) == ("null", True)


def test_a_message_that_cannot_be_read_does_not_end_it(run, killed):
    killed(
        "class Gone:\n    pass\ntopic = Topic('things', codec='pickle'); topic.publish(Gone()); topic.publish('good')"
    )
    first, second = shown(run("echo", "things", "--last", "2", "--pickle").output)
    assert first.startswith("it cannot be read: AttributeError: ")
    assert second == '"good"'
    first, _ = records(run("echo", "things", "--last", "2", "--pickle", "--json").output)
    assert (first["value"], "AttributeError" in first["problem"]) == (None, True)


def test_json_tells_all(run):
    with Topic("words") as topic:
        topic.publish(b"Hello")
        sample = topic.last()[0]
        (record,) = records(run("echo", "words", "--last", "1", "--json").output)
    assert datetime.fromisoformat(record.pop("time")).timestamp() == pytest.approx(sample.time, abs=0.002)
    assert record == {"name": "words", "seq": 1, "missed": 0, "publisher": os.getpid(), "size": 5, "value": "Hello"}


def test_the_last_messages_are_there_when_all_have_died(run, killed):
    killed("topic = Topic('crashed', slots=4)\nfor n in range(9): topic.publish(b'%d' % n)")
    assert shown(run("echo", "crashed", "--last", "100").output)[-3:] == ["6", "7", "8"]
    assert shown(run("echo", "crashed", "--last", "1").output) == ["8"]
    assert run("echo", "crashed", "--last", "1", "--json").output.count("\n") == 1


def test_the_last_looks_take_part_in_nothing(run):
    with Topic("words") as topic:
        topic.publish(b"Hello")
        before = (topic.path).read_bytes()
        run("echo", "words", "--last", "1")
        assert topic.path.read_bytes() == before


@pytest.mark.parametrize("option", ["--count", "--history", "--timeout"])
def test_last_goes_without_the_options_of_following(run, option):
    result = run("echo", "words", "--last", "1", option, "1")
    assert (result.exit_code, f"it goes without {option}" in result.stderr) == (2, True)


def test_in_two_terminals(samemap):
    reader = samemap("echo", "words", "--wait", "1m", "--count", "20")
    writer = samemap("pub", "words", "--create", "--wait-subscribers", "1")
    for number in range(20):
        writer.stdin.write(f"number {number}\n")
        writer.stdin.flush()
        assert reader.stdout.readline().endswith(f"  number {number}\n")
    assert (reader.wait(), reader.stderr.read()) == (0, "")
    writer.stdin.close()
    assert (writer.wait(), writer.stderr.read()) == (0, "")


def test_history_comes_first(samemap):
    with Topic("words") as topic:
        for word in (b"a", b"b", b"c"):
            topic.publish(word)
        reader = samemap("echo", "words", "--history", "2", "--count", "3")
        assert topic.wait_for_subscribers(1, 60)
        topic.publish(b"d")
        assert shown(reader.communicate()[0]) == ["b", "c", "d"]


def stopped_while(samemap, topic, *arguments):
    """Start an echo, stop it after the first message, publish nine more, and let it go on; return it."""
    reader = samemap("echo", topic.name, *arguments)
    assert topic.wait_for_subscribers(1, 60)
    topic.publish(b"1")
    assert reader.stdout.readline()
    reader.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, reader.pid, os.WSTOPPED | os.WNOWAIT)
    for number in range(2, 11):
        topic.publish(b"%d" % number)
    reader.send_signal(signal.SIGCONT)
    return reader


def test_what_was_lost_is_counted(samemap):
    with Topic("words", slots=4) as topic:
        reader = stopped_while(samemap, topic)
        line = reader.stdout.readline()
        lost = re.search(r"\((\d) lost before it\)  (\d+)$", line)
        assert int(lost[1]) == int(lost[2]) - 2 > 0


def test_the_newest_only(samemap):
    with Topic("words", slots=4) as topic:
        reader = stopped_while(samemap, topic, "--policy", "latest", "--json")
        assert json.loads(reader.stdout.readline())["seq"] == 10


def test_publishers_wait_when_asked_to(samemap):
    with Topic("words", slots=4) as topic:
        reader = samemap("echo", "words", "--policy", "block", "--count", "10")
        assert topic.wait_for_subscribers(1, 60)
        assert topic.subscribers()[0].policy == "block"
        for number in range(1, 11):
            topic.publish(b"%d" % number, 60)
        assert shown(reader.communicate()[0]) == [str(number) for number in range(1, 11)]


def test_a_newest_value_is_followed_from_the_present_one(samemap):
    with Latest("state", shape=2, dtype="i4") as state:
        state.set([1, 2])
        reader = samemap("echo", "state", "--count", "2")
        assert shown(reader.stdout.readline()) == ["int32 (2,) [1 2]"]
        state.set([3, 4])
        assert shown(reader.communicate()[0]) == ["int32 (2,) [3 4]"]


def test_a_newest_value_has_no_policy(run):
    with Latest("state"):
        for option, value in (("--policy", "drop"), ("--history", "1")):
            result = run("echo", "state", option, value)
            assert (result.exit_code, f"one value and no {option}" in result.stderr) == (1, True)
        assert run("echo", "state", "--last", "1").output == ""


def test_another_topic_of_that_name_is_gone_over_to(samemap):
    with Topic("words") as first:
        reader = samemap("echo", "words")
        assert first.wait_for_subscribers(1, 60)
        first.publish(b"old")
        assert shown(reader.stdout.readline()) == ["old"]
        first.unlink()
        # Published before anybody can be there.
        with Topic.create("words") as second:
            second.publish(b"new")
            assert shown(reader.stdout.readline()) == ["new"]


def test_timeouts_and_what_is_missing_are_told(run, runtime_directory):
    with Topic("words"):
        result = run("echo", "words", "--timeout", "30ms")
    assert (result.exit_code, "nothing came for 0.03 s; 'samemap stat' tells who publishes" in result.stderr) == (
        1,
        True,
    )
    result = run("echo", "none")
    missing = "cannot open it: No such file or directory; --wait 10s waits for it"
    assert result.stderr == f"samemap echo: {runtime_directory / 'none'}: {missing}\n"
    assert "(waited 0.02 s)" in run("echo", "none", "--wait", "20ms").stderr


def test_what_a_topic_needs_and_is_not_installed_is_told(run, monkeypatch):
    with Topic("arrays", dtype="f4"), Topic("typed", type=dict):
        for name, module in (("arrays", "numpy"), ("typed", "msgspec.msgpack")):
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, module, None)
                result = run("echo", name, "--last", "1")
            assert result.exit_code == 1
            assert re.search(rf"/{name}: messages with .* need {module.partition('.')[0]}: pip install", result.stderr)


def test_ctrl_c_ends_quietly(samemap):
    with Topic("words") as topic:
        reader = samemap("echo", "words")
        assert topic.wait_for_subscribers(1, 60)
        topic.publish(b"Hello")
        assert shown(reader.stdout.readline()) == ["Hello"]
        reader.send_signal(signal.SIGINT)
        assert reader.wait() == 130
        assert (reader.stdout.read(), reader.stderr.read()) == ("", "")
        assert topic.subscribers() == []


def test_a_pipe_that_nobody_reads_ends_it_quietly_also_when_nothing_comes(samemap):
    with Topic("words") as topic:
        reader = samemap("echo", "words")
        assert topic.wait_for_subscribers(1, 60)
        reader.stdout.close()
        assert (reader.wait(), reader.stderr.read()) == (0, "")


def test_who_may_only_read_follows_all_the_same(nobody, shared):
    with Topic(shared / "words", perm=0o644, max_message=LARGE) as topic:
        reader = nobody("echo", str(shared / "words"), "--count", "2", "--history", "1")
        topic.publish(b"Hello")
        assert shown(reader.stdout.readline()) == ["Hello"]
        assert topic.subscribers() == []
        topic.publish(b"World")
        output, told = reader.communicate()
        assert (shown(output), reader.returncode) == (["World"], 0)
        assert "it may only be read, so this looks every 5 ms" in told
        blocking = nobody("echo", str(shared / "words"), "--policy", "block")
        assert "publishers wait for those only who may write" in blocking.communicate()[1]
