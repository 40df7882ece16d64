"""`samemap read`."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from samemap import Region

#: Longer than any test may take: who wakes in time was rung.
NEVER = "1h"
SOON = "10ms"


def until_asleep(pid: int) -> None:
    """Return when a process sleeps on a futex, so that a store cannot come just before its sleep."""
    deadline = time.monotonic() + 60
    while "futex" not in Path(f"/proc/{pid}/wchan").read_text():
        assert time.monotonic() < deadline, f"process {pid} never slept"
        time.sleep(0.001)


def test_once(run, last):
    last.write_text("Hello")
    result = run("read", "last")
    assert (result.output, result.exit_code) == ("Hello\n", 0)


def test_an_empty_region_is_an_empty_line(run, last):
    assert run("read", "last").output == "\n"


def test_text_without_nul_ends_with_the_region(run, runtime_directory):
    (runtime_directory / "raw").write_bytes(b"Hello")
    assert run("read", "raw").output == "Hello\n"


def test_bytes_pass_as_they_are(run, last):
    last[:3] = b"\xff\xc3\0"
    assert run("read", "last").stdout_bytes == b"\xff\xc3\n"
    assert json.loads(run("read", "last", "--json").output)["text"] == "\\xff\\xc3"


def test_json(run, last):
    last.write_text("grüß\n🜁")
    record = json.loads(run("read", "last", "--json").output)
    assert record.keys() == {"name", "text", "size", "time"}
    assert (record["name"], record["text"], record["size"]) == ("last", "grüß\n🜁", 4096)
    assert datetime.fromisoformat(record["time"]).tzinfo is not None


def test_the_permission_to_read_is_enough(run, last):
    last.write_text("Hello")
    os.fchmod(last.fileno(), 0o400)
    assert run("read", "last").output == "Hello\n"
    assert last.stats().size == 4096


def test_missing_says_what_to_do(run, runtime_directory):
    result = run("read", "none")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"samemap read: {runtime_directory / 'none'}: ")
    assert "No such file or directory" in result.stderr
    assert "'samemap write' makes it, 'samemap read --wait 10s' waits for it" in result.stderr
    assert result.stderr.count("\n") == 1


def test_waiting_in_vain_says_how_long(run, runtime_directory):
    result = run("read", "none", "--wait", "20ms")
    assert result.exit_code == 1
    assert "(waited 0.02 s)" in result.stderr
    assert "--wait" not in result.stderr


def test_empty_says_what_to_do(run, runtime_directory):
    (runtime_directory / "empty").touch(0o600)
    result = run("read", "empty")
    assert result.exit_code == 1
    assert "the file is empty" in result.stderr
    assert "'samemap write' gives it a size" in result.stderr


@pytest.mark.parametrize("arguments", [["--count", "1"], ["--timeout", "1s"]])
def test_options_of_follow_need_it(run, last, arguments):
    result = run("read", "last", *arguments)
    assert result.exit_code == 2
    assert "needs --follow" in result.stderr


def test_a_poll_of_zero_would_use_all_the_processor(run, last):
    assert "too short" in run("read", "last", "-f", "--poll", "0").stderr


def test_symbolic_links_are_refused_until_accepted(run, last, runtime_directory):
    last.write_text("Hello")
    (runtime_directory / "link").symlink_to("last")
    assert "it is a symbolic link" in run("read", "link").stderr
    assert run("read", "link", "--follow-symlinks").output == "Hello\n"


def test_files_of_others_are_refused_until_accepted(run, foreign):
    foreign.write_text("Hello")
    assert "; --any-owner accepts that" in run("read", "last").stderr
    assert run("read", "last", "--any-owner").output == "Hello\n"


def test_the_ring_of_the_writer_wakes_the_reader_for_each_change(samemap):
    reader = samemap("read", "last", "--follow", "--poll", NEVER, "--wait", "1m", "--count", "20")
    writer = samemap("write", "last")
    # Each line begins with other four bytes, so that no change can slip in between look and sleep.
    for line in [f"{number:04} is the number" for number in range(20)]:
        writer.stdin.write(line + "\n")
        writer.stdin.flush()
        assert reader.stdout.readline() == line + "\n"
    assert reader.wait() == 0
    writer.stdin.close()
    assert writer.wait() == 0


def test_the_cycling_writer_and_two_readers(samemap):
    readers = [samemap("read", "last", "-f", "--poll", NEVER, "--wait", "1m", "--count", "4") for _ in range(2)]
    samemap("write", "last", "--every", "200ms", "Hello", "World")
    for reader in readers:
        lines = reader.stdout.read().split("\n")[:-1]
        assert len(lines) == 4
        assert set(lines) == {"Hello", "World"}
        # Never twice the same: it is changes that are printed.
        assert all(a != b for a, b in itertools.pairwise(lines))


def test_a_program_that_only_stores_is_seen_at_the_poll(samemap, last):
    last[:6] = b"Hello\0"
    reader = samemap("read", "last", "--follow", "--poll", SOON)
    assert reader.stdout.readline() == "Hello\n"
    until_asleep(reader.pid)
    last[:6] = b"World\0"
    assert reader.stdout.readline() == "World\n"
    until_asleep(reader.pid)
    # The same first word: only the poll can show it.
    last[:6] = b"Worl!\0"
    assert reader.stdout.readline() == "Worl!\n"


def test_follow_prints_no_empty_text_before_the_first_but_after(samemap, last):
    reader = samemap("read", "last", "-f", "--poll", SOON, "--count", "2")
    last.write_text("Hello")
    last.ring(0)
    assert reader.stdout.readline() == "Hello\n"
    last.write_text("")
    last.ring(0)
    assert reader.stdout.readline() == "\n"
    assert reader.wait() == 0


def test_follow_in_a_region_too_small_for_a_bell(samemap, run):
    run("write", "tiny", "--size", "3", "Hi")
    reader = samemap("read", "tiny", "-f", "--poll", SOON)
    assert reader.stdout.readline() == "Hi\n"
    run("write", "tiny", "Ho")
    assert reader.stdout.readline() == "Ho\n"


def test_follow_goes_over_to_a_file_made_anew(samemap, last):
    last.write_text("old")
    reader = samemap("read", "last", "-f", "--poll", SOON)
    assert reader.stdout.readline() == "old\n"
    last.unlink()
    with Region.create("last", 4096) as anew:
        anew.write_text("new")
        assert reader.stdout.readline() == "new\n"
        last.write_text("lost")
        anew.write_text("newer")
        assert reader.stdout.readline() == "newer\n"


def test_follow_sees_growth(samemap, last):
    last.write_text("short")
    reader = samemap("read", "last", "-f", "--poll", SOON, "--json")
    assert json.loads(reader.stdout.readline())["size"] == 4096
    last.resize(16384)
    last.write_text("x" * 10_000)
    last.ring(0)
    seen = ""
    while seen != "x" * 10_000:  # it may be caught half written
        record = json.loads(reader.stdout.readline())
        seen = record["text"]
    assert record["size"] == 16384


def test_follow_tells_of_truncation(samemap, last, runtime_directory):
    last.write_text("Hello")
    reader = samemap("read", "last", "-f", "--poll", SOON)
    assert reader.stdout.readline() == "Hello\n"
    os.ftruncate(last.fileno(), 0)
    assert reader.wait() == 1
    assert reader.stderr.read() == (
        f"samemap read: {runtime_directory / 'last'}: "
        "somebody truncated the file to 0 bytes while it was followed; start again once it is whole\n"
    )


def test_follow_survives_being_shortened_and_written_anew(samemap, last, runtime_directory):
    with Region.create("long", 3 * 4096) as region:
        region.write_text("x" * 10_000)
        reader = samemap("read", "long", "-f", "--poll", SOON)
        assert reader.stdout.readline() == "x" * 10_000 + "\n"
        (runtime_directory / "long").write_bytes(b"Hello\0")
        line = ""
        while line != "Hello\n":  # what was left for a moment may be shown too
            line = reader.stdout.readline()
            assert line


def test_timeout_tells_that_nothing_changes(run, last):
    last.write_text("Hello")
    result = run("read", "last", "-f", "--timeout", "30ms")
    assert (result.stdout, result.exit_code) == ("Hello\n", 1)
    assert "nothing changed for 0.03 s; 'samemap stat' tells who maps it" in result.stderr


def test_ctrl_c_ends_quietly(samemap, last):
    last.write_text("Hello")
    reader = samemap("read", "last", "-f", "--poll", NEVER)
    assert reader.stdout.readline() == "Hello\n"
    reader.send_signal(signal.SIGINT)
    assert reader.wait() == 130
    assert (reader.stdout.read(), reader.stderr.read()) == ("", "")


def test_a_pipe_that_nobody_reads_ends_it_quietly(samemap, last):
    last.write_text("Hello")
    reader = samemap("read", "last", "-f", "--poll", SOON)
    assert reader.stdout.readline() == "Hello\n"
    reader.stdout.close()
    assert reader.wait() == 0
    assert reader.stderr.read() == ""


@pytest.mark.parametrize("arguments", [["read", "last"], ["ls"], ["stat", "last"], ["hexdump", "last"]])
def test_a_pipe_that_nobody_reads_from_the_start(samemap, last, arguments):
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        program = samemap(*arguments, stdout=theirs)
        assert (program.wait(), program.stderr.read()) == (0, "")
    finally:
        os.close(theirs)


def test_through_head(start, last):
    last.write_text("Hello")
    script = 'set -o pipefail; "$0" -m samemap read last -f | head -1'
    pipe = start("bash", "-c", script, sys.executable)
    assert (pipe.wait(), pipe.stdout.read(), pipe.stderr.read()) == (0, "Hello\n", "")


def test_unicode_through_two_processes(samemap):
    assert samemap("write", "last", "grüß 🜁").wait() == 0
    assert samemap("read", "last").communicate()[0] == "grüß 🜁\n"
