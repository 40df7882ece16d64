"""`samemap write`."""

from __future__ import annotations

import json
import os
import stat
from datetime import datetime

import pytest

from samemap import PAGE_SIZE, Region


def text(name: str = "last") -> str:
    with Region.open(name, mode="r") as region:
        return region.read_text()


def size(name: str = "last") -> int:
    with Region.open(name, mode="r") as region:
        return region.size


def test_makes_a_private_page_and_ends_the_text_with_nul(run, runtime_directory):
    assert run("write", "last", "Hello").output == ""
    with Region.open("last") as region:
        assert region[:7] == b"Hello\0\0"
    status = (runtime_directory / "last").stat()
    assert status.st_size == 4096
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_several_texts_are_joined_like_echo(run):
    run("write", "last", "Hello", "World")
    assert text() == "Hello World"


def test_a_shorter_text_ends_where_it_ends(run):
    run("write", "last", "a long text")
    run("write", "last", "short")
    assert text() == "short"


def test_unicode_and_bytes_that_are_none(run, samemap):
    run("write", "last", "grüß 🜁")
    assert text() == "grüß 🜁"
    assert samemap("write", "last", os.fsdecode(b"\xff\xfe")).wait() == 0
    with Region.open("last") as region:
        assert region.read_cstring() == b"\xff\xfe"


def test_an_empty_file_is_given_a_size(run, runtime_directory):
    (runtime_directory / "last").touch(0o600)
    run("write", "last", "Hello")
    assert (text(), size()) == ("Hello", 4096)


@pytest.mark.parametrize(("length", "expected"), [(4095, 4096), (4096, 8192), (100_000, 102_400)])
def test_a_new_region_has_room_for_a_long_text(run, length, expected):
    run("write", "last", "x" * length)
    assert (len(text()), size()) == (length, expected)


def test_a_region_grows_under_those_who_map_it(run, last):
    view = memoryview(last)
    run("write", "last", "y" * 10_000)
    assert last.read_text() == "y" * 10_000
    assert len(view) == 4096


def test_a_small_file_grows_only_when_it_must(run, runtime_directory):
    path = runtime_directory / "small"
    path.write_bytes(b"World\0")
    path.chmod(0o600)
    run("write", "small", "Hello")
    assert path.read_bytes() == b"Hello\0"
    run("write", "small", "Hello!")
    assert path.read_bytes() == b"Hello!".ljust(PAGE_SIZE, b"\0")


def test_size_is_what_the_region_gets(run, last):
    assert run("write", "new", "--size", "64K", "Hello").exit_code == 0
    assert size("new") == 65536
    assert run("write", "last", "--size", "64K", "Hello").exit_code == 0
    assert size() == 65536
    # A larger one stays.
    assert run("write", "last", "--size", "4K", "World").exit_code == 0
    assert (size(), text()) == (65536, "World")


def test_text_that_needs_more_than_size_is_refused_in_every_case(run, last, runtime_directory):
    for name in ("new", "last"):
        refused = run("write", name, "--size", "8", "Hello World")
        assert refused.exit_code == 1
        assert refused.stderr == (
            f"samemap write: {name}: the text needs 12 bytes with its NUL, and --size allows 8; "
            "leave it out, and the region grows\n"
        )
    assert last.read_text() == ""
    assert [entry.name for entry in runtime_directory.iterdir()] == ["last"]
    assert run("write", "new", "--size", "12", "Hello World").exit_code == 0
    assert size("new") == 12


def test_size_is_restored_after_a_truncation(samemap):
    writer = samemap("write", "last", "--size", "6000", "--json")
    for line in ("before", "after"):
        writer.stdin.write(line + "\n")
        writer.stdin.flush()
        assert json.loads(writer.stdout.readline())["size"] == 6000
        with Region.open("last") as region:
            os.ftruncate(region.fileno(), 0)
    writer.stdin.close()
    assert writer.wait() == 0


def test_json_tells_each_write(run):
    result = run("write", "last", "--json", input=b"one\nt\xffo\n")
    first, second = map(json.loads, result.output.splitlines())
    assert (first["name"], first["text"], first["woken"], first["size"]) == ("last", "one", 0, 4096)
    assert second["text"] == "t\\xffo"
    assert datetime.fromisoformat(first["time"]) <= datetime.fromisoformat(second["time"])


def test_without_standard_input(samemap):
    # As `samemap write last <&-` in a shell.
    def close() -> None:
        os.close(0)

    program = samemap("write", "last", preexec_fn=close)
    assert program.wait() == 2
    told = program.stderr.read()
    assert "nothing to write: give a TEXT, or pipe one in" in told
    assert "Traceback" not in told
    assert samemap("write", "last", "Hello", preexec_fn=close).wait() == 0
    assert text() == "Hello"


def test_a_missing_directory_is_to_be_made_first(run, tmp_path):
    result = run("write", str(tmp_path / "missing" / "last"), "Hello")
    assert result.exit_code == 1
    assert result.stderr == (
        f"samemap write: {tmp_path}/missing/last: its directory {tmp_path}/missing does not exist; make it first\n"
    )


def test_a_region_without_room_for_a_bell_is_written(run):
    assert run("write", "tiny", "--size", "3", "Hi").exit_code == 0
    assert text("tiny") == "Hi"


def test_permissions_of_a_new_file(run, runtime_directory):
    run("write", "last", "--perm", "640", "Hello")
    assert stat.S_IMODE((runtime_directory / "last").stat().st_mode) == 0o640


def test_verbose_tells_what_and_who(run):
    assert run("write", "last", "-v", "Hello\x1b[31m").stderr == "Hello\\x1b[31m (woke 0)\n"


def test_every_goes_round_and_stops_at_the_count(run):
    result = run("write", "last", "--every", "1ms", "--count", "5", "-v", "Hello", "World")
    assert result.stderr.split("\n")[:-1] == [
        f"{word} (woke 0)" for word in ("Hello", "World", "Hello", "World", "Hello")
    ]
    assert text() == "Hello"


def test_lines_of_standard_input_are_texts(run):
    result = run("write", "last", "-v", input="one\ntwo\n\nthree")
    assert result.stderr == "one (woke 0)\ntwo (woke 0)\n (woke 0)\nthree (woke 0)\n"
    assert text() == "three"


def test_count_limits_lines(run):
    run("write", "last", "--count", "2", input="one\ntwo\nthree\n")
    assert text() == "two"


def test_all_takes_standard_input_as_one_text(run):
    run("write", "last", "--all", input="one\ntwo\n")
    assert text() == "one\ntwo"


def test_a_nul_in_a_line_is_refused(run):
    result = run("write", "last", input=b"one\0two\n")
    assert result.exit_code == 1
    assert "last: the text holds a NUL at byte 3" in result.stderr


def test_lines_are_written_as_they_arrive(samemap, last):
    writer = samemap("write", "last")
    for line in ("first", "second"):
        word = last.load_u32(0)
        writer.stdin.write(line + "\n")
        writer.stdin.flush()
        assert last.wait(0, word, 60)
        # Seven bytes and less are stored as one word: whole as soon as it changes.
        assert last.read_text() == line
    writer.stdin.close()
    assert writer.wait() == 0


def test_a_running_writer_finds_the_file_again(samemap, last, runtime_directory):
    writer = samemap("write", "last", "-v")
    writer.stdin.write("before\n")
    writer.stdin.flush()
    assert writer.stderr.readline() == "before (woke 0)\n"
    last.unlink()
    writer.stdin.write("after\n")
    writer.stdin.close()
    assert writer.wait() == 0
    assert (last.read_text(), text()) == ("before", "after")


def test_a_running_writer_restores_what_was_truncated(samemap, last):
    writer = samemap("write", "last", "-v")
    for line in ("before", "after"):
        writer.stdin.write(line + "\n")
        writer.stdin.flush()
        assert writer.stderr.readline() == f"{line} (woke 0)\n"
        assert text() == line
        os.ftruncate(last.fileno(), 0)
    writer.stdin.close()
    assert writer.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--all", "Hello"], "--all writes standard input once"),
        (["--every", "1s"], "--every needs a TEXT to repeat"),
        (["--count", "2", "Hello"], "--count needs --every"),
        (["--every", "soon", "Hello"], "'soon' is no duration: write 1s, 500ms, 0.2 or 2m"),
        (["--size", "much", "Hello"], "'much' is no size: write 4096, 64K, 1MiB or 0x1000"),
        (["--size", "0", "Hello"], "'0' is too small: at least 1"),
        (["--perm", "rw", "Hello"], "'rw' are no permission bits"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(run, runtime_directory, arguments, complaint):
    result = run("write", "last", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert list(runtime_directory.iterdir()) == []


def test_symbolic_links_are_refused_until_accepted(run, last, runtime_directory):
    (runtime_directory / "link").symlink_to("last")
    refused = run("write", "link", "Hello")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"samemap write: {runtime_directory / 'link'}: it is a symbolic link")
    assert refused.stderr.endswith("; --follow-symlinks accepts it\n")
    assert last.read_text() == ""
    assert run("write", "link", "--follow-symlinks", "Hello").exit_code == 0
    assert last.read_text() == "Hello"


def test_files_of_others_are_refused_until_accepted(run, foreign):
    refused = run("write", "last", "Hello")
    assert refused.exit_code == 1
    assert "it belongs to uid 12345" in refused.stderr
    assert refused.stderr.endswith("; --any-owner accepts that\n")
    assert foreign.read_text() == ""
    assert run("write", "last", "--any-owner", "Hello").exit_code == 0
    assert foreign.read_text() == "Hello"


def test_a_full_terminal_command_needs_text(samemap):
    ours, theirs = os.openpty()
    try:
        program = samemap("write", "last", stdin=theirs)
        assert program.wait() == 2
        assert "nothing to write: give a TEXT, or pipe one in" in program.stderr.read()
    finally:
        os.close(ours)
        os.close(theirs)
