"""How the commands tell segments from raw regions, and keep their hands off them."""

from __future__ import annotations

import json
import os
import random
import re

import pytest

from samemap import Lock, Namespace, Region
from samemap.cli.segments import is_segment, refuse_segment


@pytest.fixture
def lock():
    """Hold the lock "jobs" open."""
    lock = Lock.create("jobs")
    yield lock
    lock.close()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"samemap\x02", True),
        (b"samemap\x03", True),  # of a version to come
        (b"\x02pamemas", True),  # of the other byte order
        (b"samemap", False),
        (b"samemap\0", False),  # the text of that name
        (b"samemap\n", False),
        (b"samemap rocks", False),
        (b"", False),
    ],
)
def test_segments_are_told_by_their_first_bytes(head, expected):
    assert is_segment(head) is expected


def test_ls_tells_the_kinds_apart(run, lock, last, runtime_directory):
    with Namespace.create("app"):
        pass
    (runtime_directory / "future").write_bytes(b"samemap\x03" + bytes(4088))
    kinds = {record["name"]: record["kind"] for record in map(json.loads, run("ls", "--json").output.splitlines())}
    assert kinds == {"app": "Namespace", "future": None, "jobs": "Lock", "last": "region"}
    shown = [line.split()[:2] for line in run("ls").output.splitlines()]
    assert shown == [["NAME", "KIND"], ["app", "Namespace"], ["future", "?"], ["jobs", "Lock"], ["last", "region"]]


def test_stat_tells_what_a_segment_says_of_itself(run, lock, killed, runtime_directory):
    pid = killed("lock = Lock('jobs')")
    record = json.loads(run("stat", "jobs", "--json").output)
    assert (record["kind"], record["text"]) == ("Lock", None)
    segment = record["segment"]
    assert (segment["format"], segment["creator"], segment["places"]) == (1, os.getpid(), 128)
    assert {found["pid"]: found["alive"] for found in segment["participants"]} == {os.getpid(): True, pid: False}
    shown = run("stat", "jobs").output
    assert "kind       Lock, in a segment\n" in shown
    assert f"id         {segment['id']}\n" in shown
    assert re.fullmatch("[0-9a-f]{32}", segment["id"])
    assert "format     version 1\n" in shown
    assert f"created    {segment['created']} by pid {os.getpid()}\n" in shown
    assert "takes part 1 alive of 128 places\n" in shown
    assert f"           pid {pid} (died) " in shown
    assert "text" not in shown.replace(str(runtime_directory), "")


def test_stat_of_a_raw_region_says_so(run, last):
    assert "kind       region: raw bytes\n" in run("stat", "last").output
    record = json.loads(run("stat", "last", "--json").output)
    assert (record["kind"], record["segment"]) == ("region", None)


def test_stat_tells_why_a_segment_is_not_understood(run, runtime_directory):
    Lock.create("jobs").close()
    with (runtime_directory / "jobs").open("r+b") as file:
        file.seek(8)
        file.write(b"\x07")
    assert "kind       segment, but its version is 7, and 1 was expected: " in run("stat", "jobs").output
    record = json.loads(run("stat", "jobs", "--json").output)
    assert record["segment"]["format"] == 7
    assert record["segment"]["problem"].startswith("its version is 7")
    assert str(runtime_directory) not in record["segment"]["problem"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("write", "jobs", "Hello"),
        ("write", "jobs", "--size", "1M", "Hello"),
        ("write", "jobs", "--every", "10ms", "--count", "2", "Hello"),
        ("resize", "jobs", "1M"),
        ("resize", "jobs", "-4K", "--yes"),
    ],
)
def test_a_segment_is_neither_written_nor_resized(run, lock, arguments):
    before = lock.path.read_bytes()
    result = run(*arguments)
    assert lock.path.read_bytes() == before
    assert result.exit_code == 1
    assert result.stderr.startswith(f"samemap {arguments[0]}: {lock.path}: it is a segment (a Lock), no raw region, ")
    assert "and 1 process uses it" in result.stderr
    assert result.stderr.endswith("--force does it all the same\n")
    assert result.stderr.count("\n") == 1


def test_a_segment_is_refused_through_a_link_too(run, lock, tmp_path):
    (tmp_path / "link").symlink_to(lock.path)
    result = run("write", "--follow-symlinks", str(tmp_path / "link"), "Hello")
    assert (result.exit_code, "it is a segment" in result.stderr) == (1, True)


def test_a_segment_that_takes_the_place_of_a_region_is_refused(samemap, last, runtime_directory):
    program = samemap("write", "last", "-v")
    program.stdin.write("Hello\n")
    program.stdin.flush()
    assert program.stderr.readline().startswith("Hello (woke ")
    Lock.create("jobs").close()
    (runtime_directory / "jobs").rename(runtime_directory / "last")
    _, errors = program.communicate("World\n")
    assert program.returncode == 1
    assert "it is a segment (a Lock), no raw region" in errors
    Lock.open("last").close()


@pytest.mark.parametrize("arguments", [("write", "jobs", "Hello"), ("resize", "jobs", "64")])
def test_force_destroys_a_segment(run, arguments):
    Lock.create("jobs").close()
    assert run(*arguments, "--force").exit_code == 0
    with pytest.raises(ValueError, match=r"its (magic|size) is"):
        Lock.open("jobs")


def test_rm_removes_segments(run, lock, runtime_directory):
    other = Lock.create("other")
    assert run("rm", "other").exit_code == 0
    assert not (runtime_directory / "other").exists()
    other.close()


def test_read_and_hexdump_look_at_segments_too(run, lock):
    assert run("hexdump", "jobs", "--length", "8").output.startswith("00000000  73 61 6d 65 6d 61 70 02 ")
    assert run("read", "jobs").exit_code == 0


def test_what_is_no_segment_is_not_refused(tmp_path):
    refuse_segment(str(tmp_path / "missing"), "text")
    refuse_segment(str(tmp_path), "text")
    with Region.create(tmp_path / "raw", 64) as region:
        refuse_segment(str(region.path), "text")


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_damaged_the_commands_say_so_or_show_it(run, runtime_directory, seed):
    with Namespace.create("app", size=65536) as app:
        things = [app.lock("a"), app.semaphore("b", 2), app.condition("c"), app.counter("d"), app.read_write_lock("e")]
        things[0].acquire()
        things[1].acquire()
        things[4].acquire_read()
        whole = (runtime_directory / "app").read_bytes()
        for thing in things:
            thing.close()
    used = [at for at, byte in enumerate(whole) if byte]
    chance = random.Random(seed)
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 2, 8, 64))):
            at = chance.choice(used) if chance.random() < 0.7 else chance.randrange(len(damaged))
            damaged[at] = chance.choice((0, 255, damaged[at] ^ 1 << chance.randrange(8)))
        if chance.random() < 0.1:
            del damaged[chance.randrange(len(damaged)) :]
        (runtime_directory / "damaged").write_bytes(damaged)
        # An exception that escapes fails the test.
        for arguments in (["locks"], ["locks", "--json"], ["stat", "damaged"], ["ls"]):
            assert run(*arguments).exit_code in (0, 1)
    assert run("doctor").exit_code in (0, 1)
