"""`samemap ls` and `samemap stat`."""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import datetime

import pytest

from samemap import Region
from samemap.cli import listing
from samemap.holders import Survey

HOLD = """
import sys
from samemap import Region
with Region.open("last", mode=sys.argv[1]) as region:
    print("ready")
    sys.stdin.read()
"""


def records(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_ls_of_nothing_is_no_error(run, runtime_directory, monkeypatch):
    for directory in (runtime_directory, runtime_directory / "missing"):
        monkeypatch.setenv("SAMEMAP_DIR", str(directory))
        result = run("ls")
        assert (result.output, result.exit_code) == ("", 0)


def test_ls_shows_files_and_nothing_else(run, last, runtime_directory):
    (runtime_directory / "directory").mkdir()
    (runtime_directory / "link").symlink_to("last")
    (runtime_directory / ".hidden").touch()
    os.mkfifo(runtime_directory / "fifo")
    with Region.create("another", 1 << 20, sparse=True, perm=0o640):
        pass
    heading, *lines = run("ls").output.splitlines()
    assert heading.split() == ["NAME", "KIND", "SIZE", "ALLOCATED", "PERM", "OWNER", "MODIFIED", "PROCS"]
    assert [line.split()[:5] for line in lines] == [
        ["another", "region", "1M", "0", "0640"],
        ["last", "region", "4K", "4K", "0600"],
    ]
    # Columns align.
    assert heading.index("PERM") == lines[0].index("0640") == lines[1].index("0600")


def test_ls_json_is_exact(run, last, runtime_directory):
    (record,) = records(run("ls", "--json").output)
    assert record["path"] == str(runtime_directory / "last")
    assert (record["name"], record["size"], record["allocated"]) == ("last", 4096, 4096)
    assert (record["perm"], record["processes"]) == ("0600", 1)
    assert isinstance(record["unseen_processes"], int)
    assert datetime.fromisoformat(record["modified"]).timestamp() == pytest.approx(
        (runtime_directory / "last").stat().st_mtime, abs=0.001
    )


def test_ls_counts_processes(run, last, start):
    holders = [start("r", source=HOLD) for _ in range(2)]
    for holder in holders:
        assert holder.stdout.readline() == "ready\n"
    (record,) = records(run("ls", "--json").output)
    assert record["processes"] == 3  # and this one
    last.close()
    holders[0].stdin.close()
    holders[0].wait()
    (record,) = records(run("ls", "--json").output)
    assert record["processes"] == 1


def test_ls_says_when_it_could_not_look(run, last, monkeypatch):
    monkeypatch.setattr(listing, "survey", lambda files: Survey(dict.fromkeys(files, ()), 7))
    assert run("ls").output.splitlines()[1].endswith(" 0?")
    assert records(run("ls", "--json").output)[0]["unseen_processes"] == 7
    assert "? perhaps more: 7 processes did not let us look" in run("stat", "last").output


def test_ls_of_a_directory(run, tmp_path):
    (tmp_path / "raw").write_bytes(b"123")
    (record,) = records(run("ls", str(tmp_path), "--json").output)
    assert (record["name"], record["size"]) == ("raw", 3)


def test_ls_of_a_directory_that_is_missing(run, tmp_path):
    result = run("ls", str(tmp_path / "missing"))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"samemap ls: {tmp_path / 'missing'}: No such file or directory")
    assert result.stdout == ""


def test_ls_of_what_is_no_directory(run, tmp_path):
    (tmp_path / "raw").touch()
    result = run("ls", str(tmp_path / "raw"))
    assert result.exit_code == 1
    assert result.stderr == f"samemap ls: {tmp_path / 'raw'}: Not a directory\n"


def test_names_cannot_steer_the_terminal(run, runtime_directory):
    (runtime_directory / "red\x1b[31m\n").touch()
    (runtime_directory / os.fsdecode(b"\xff")).touch()
    shown = run("ls").output
    assert "red\\x1b[31m\\n" in shown
    assert "\\udcff" in shown
    assert "\x1b" not in shown
    assert len(records(run("ls", "--json").output)) == 2


def test_stat_tells_everything(run, last, start, runtime_directory):
    last.write_text("Hello")
    reader = start("r", source=HOLD)
    writer = start("rw", source=HOLD)
    assert reader.stdout.readline() == writer.stdout.readline() == "ready\n"
    (record,) = records(run("stat", "last", "--json").output)
    status = (runtime_directory / "last").stat()
    assert record["path"] == str(runtime_directory / "last")
    assert (record["size"], record["inode"], record["uid"]) == (4096, status.st_ino, os.geteuid())
    assert record["filesystem"] == "tmpfs"
    assert record["text"] == "Hello"
    access = {holder["pid"]: holder["access"] for holder in record["holders"]}
    assert access == {os.getpid(): "rw", reader.pid: "r", writer.pid: "rw"}
    command = next(holder["command"] for holder in record["holders"] if holder["pid"] == reader.pid)
    assert command.startswith(f"{sys.executable} -u -c ")

    shown = run("stat", "last").output
    assert "size       4096 bytes (4K)\n" in shown
    assert "perm       -rw------- (0600)\n" in shown
    assert "text       'Hello' (5 bytes)\n" in shown
    assert f"pid {reader.pid} (r) {sys.executable} -u -c " in shown


def test_stat_without_holders(run, last):
    last.close()
    assert "mapped by  nobody" in run("stat", "last").output


@pytest.mark.parametrize(
    ("content", "text", "shown"),
    [
        (b"\0\0", "", "empty (starts with a NUL)"),
        (b"Hello", None, "no"),
        (b"\x01\x02\0", None, "no"),
        (b"\xff\xfe\0", None, "no"),
        (b"two\nlines\0", "two\nlines", "'two\\nlines' (9 bytes)"),
        ("grüß".encode() + b"\0", "grüß", "'grüß' (6 bytes)"),
        (b"x" * 100 + b"\0", "x" * 100, f"'{'x' * 60}'... (100 bytes)"),
        (b"x" * 65536 + b"\0", None, "no"),
    ],
)
def test_stat_recognises_text(run, runtime_directory, content, text, shown):
    (runtime_directory / "raw").write_bytes(content)
    assert records(run("stat", "raw", "--json").output)[0]["text"] == text
    assert f"text       {shown}\n" in run("stat", "raw").output


def test_stat_leaves_holes_alone(run, runtime_directory):
    with Region.create("sparse", 5 << 30, sparse=True):
        (record,) = records(run("stat", "sparse", "--json").output)
    assert (record["size"], record["allocated"]) == (5 << 30, 0)
    assert (runtime_directory / "sparse").stat().st_blocks == 0


def test_stat_refuses_what_is_no_region(run, last, runtime_directory):
    (runtime_directory / "link").symlink_to("last")
    result = run("stat", "link")
    assert result.exit_code == 1
    assert "it is a symbolic link; look at last if you trust who made it" in result.stderr
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(runtime_directory / "socket"))
        assert "it is not a regular file, so no region" in run("stat", "socket").stderr
    assert "it is not a regular file" in run("stat", str(runtime_directory)).stderr


def test_stat_of_nothing_says_where_to_look(run, runtime_directory):
    result = run("stat", "none")
    assert result.exit_code == 1
    path = runtime_directory / "none"
    assert result.stderr == f"samemap stat: {path}: No such file or directory; 'samemap ls' shows what there is\n"
