"""`samemap rm` and `samemap resize`."""

from __future__ import annotations

import json
import os
import signal

import pytest

from samemap import Region, SegmentTruncated
from samemap.cli import change

HOLD = """
import sys
from samemap import Region
with Region.open("last") as region:
    print("ready")
    sys.stdin.read()
    print(region.read_text())
"""


@pytest.fixture
def holder(last, start):
    last.write_text("Hello")
    program = start(source=HOLD)
    assert program.stdout.readline() == "ready\n"
    return program


def test_rm_removes(run, last, runtime_directory):
    with Region.create("other", 64):
        pass
    result = run("rm", "last", "other")
    assert (result.output, result.exit_code) == ("", 0)
    assert list(runtime_directory.iterdir()) == []


def test_rm_goes_on_after_an_error(run, last, runtime_directory):
    result = run("rm", "none", "..", "last")
    assert result.exit_code == 1
    missing, no_name = result.stderr.splitlines()
    path = runtime_directory / "none"
    assert missing == f"samemap rm: {path}: No such file or directory; 'samemap ls' shows what there is"
    assert no_name.startswith("samemap rm: '..' is no name: names do not start with a dot")
    assert list(runtime_directory.iterdir()) == []


def test_rm_force_ignores_what_is_missing(run, last, runtime_directory):
    result = run("rm", "--force", "none", "last")
    assert (result.output, result.exit_code) == ("", 0)
    assert list(runtime_directory.iterdir()) == []


def test_rm_tells_who_keeps_the_memory(run, last, holder, runtime_directory):
    result = run("rm", "last")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"last: still mapped by pid {holder.pid} (rw) ")
    assert result.stderr.endswith("; it keeps its memory\n")
    assert list(runtime_directory.iterdir()) == []
    assert holder.communicate()[0] == "Hello\n"


def test_rm_json_tells_who_keeps_the_memory(run, last, holder, runtime_directory):
    with Region.create("other", 64):
        pass
    result = run("rm", "last", "none", "other", "--json")
    assert result.exit_code == 1
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["name"], first["path"]) == ("last", str(runtime_directory / "last"))
    assert [(found["pid"], found["access"]) for found in first["holders"]] == [(holder.pid, "rw")]
    assert (second["name"], second["holders"]) == ("other", [])
    assert list(runtime_directory.iterdir()) == []


def test_names_cannot_steer_the_terminal(run, start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "red\x1b[31m"
    with Region.create(f"./{name}", 4096) as region:
        program = start(
            f"./{name}", source="import sys, samemap\nr = samemap.Region.open(sys.argv[1])\nprint('ready')\ninput()"
        )
        assert program.stdout.readline() == "ready\n"
        shown = run("resize", f"./{name}", "1K").stderr + run("rm", f"./{name}").stderr
    assert shown.count("red\\x1b[31m") >= 3
    assert "\x1b" not in shown
    assert not region.path.exists()


def test_rm_refuses_what_another_user_owns_unless_forced(run, foreign, runtime_directory):
    result = run("rm", "last")
    assert result.exit_code == 1
    assert "it belongs to uid 12345, you are uid 0; --force removes it anyway" in result.stderr
    assert (runtime_directory / "last").exists()
    assert run("rm", "--force", "last").exit_code == 0
    assert not (runtime_directory / "last").exists()


def test_rm_removes_a_link_not_what_it_points_to(run, last, runtime_directory):
    (runtime_directory / "link").symlink_to("last")
    assert run("rm", "link").exit_code == 0
    assert [entry.name for entry in runtime_directory.iterdir()] == ["last"]


def test_rm_refuses_what_is_no_region(run, runtime_directory):
    result = run("rm", "--force", str(runtime_directory))
    assert result.exit_code == 1
    assert "it is not a regular file" in result.stderr
    assert runtime_directory.is_dir()


def test_rm_needs_a_name(run):
    assert run("rm").exit_code == 2


@pytest.mark.parametrize(
    ("size", "expected"), [("64K", 65536), ("+64K", 69632), ("-1K", 3072), ("1", 1), ("0x2000", 8192)]
)
def test_resize(run, last, size, expected):
    result = run("resize", "last", size)
    assert (result.output, result.exit_code) == ("", 0)
    assert last.size == expected


def test_resize_json(run, last, runtime_directory):
    assert json.loads(run("resize", "last", "+4K", "--json").output) == {
        "name": "last",
        "path": str(runtime_directory / "last"),
        "before": 4096,
        "size": 8192,
    }


def test_resize_keeps_what_is_there(run, last):
    last.write_text("Hello")
    run("resize", "last", "+4K")
    assert (last.read_text(), last[4096:]) == ("Hello", bytes(4096))


def test_resize_reserves_space_unless_sparse(run, last):
    run("resize", "last", "1M")
    assert last.stats().allocated == 1 << 20
    run("resize", "last", "1G", "--sparse")
    assert last.stats().allocated == 1 << 20


@pytest.mark.parametrize("size", ["0", "-4K", "-1M"])
def test_resize_to_nothing_names_the_other_command(run, last, size):
    result = run("resize", "last", size)
    assert result.exit_code == 1
    assert "a region has at least 1; 'samemap rm' removes it" in result.stderr
    assert last.size == 4096


def test_resize_gives_an_empty_file_its_size(run, runtime_directory):
    (runtime_directory / "empty").touch(0o600)
    assert run("resize", "empty", "+4K").exit_code == 0
    assert (runtime_directory / "empty").stat().st_size == 4096


def test_resize_makes_nothing(run, runtime_directory):
    result = run("resize", "none", "4K")
    assert result.exit_code == 1
    assert "'samemap ls' shows what there is" in result.stderr
    assert list(runtime_directory.iterdir()) == []


@pytest.mark.parametrize("size", ["4Q", "-", "+x", "9999999999G"])
def test_what_is_no_size_is_a_usage_error(run, last, size):
    result = run("resize", "last", size)
    assert result.exit_code == 2
    assert "+64K grows by that much, -4K shrinks" in result.stderr


def test_growing_does_not_ask(run, last, holder):
    assert run("resize", "last", "+4K").exit_code == 0
    assert last.size == 8192


def test_shrinking_what_others_map_needs_a_yes(run, last, holder):
    refused = run("resize", "last", "-1K")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"last is mapped by pid {holder.pid} (rw) ")
    assert "takes memory from 1 process, and there is nobody to ask; --yes does it" in refused.stderr
    assert last.size == 4096
    assert run("resize", "last", "-1K", "--yes").exit_code == 0
    assert last.size == 3072


def test_without_standard_input_nobody_is_asked(samemap, last, holder):
    program = samemap("resize", "last", "-1K", preexec_fn=lambda: os.close(0))
    assert program.wait() == 1
    told = program.stderr.read()
    assert "there is nobody to ask; --yes does it" in told
    assert "Traceback" not in told
    assert last.size == 4096


@pytest.mark.parametrize(("answer", "size", "status"), [("y\n", 3072, 0), ("n\n", 4096, 1)])
def test_a_terminal_is_asked(last, holder, samemap, answer, size, status):
    # This process maps it too; the program must not count itself.
    ours, theirs = os.openpty()
    try:
        program = samemap("resize", "last", "-1K", stdin=theirs)
        os.write(ours, answer.encode())
        assert program.wait() == status
        told = program.stderr.read()
        assert f"pid {os.getpid()} " in told
        assert f"pid {program.pid} " not in told
        assert "Shrink it from 4096 to 3072 bytes all the same?" in told
        assert last.size == size
    finally:
        os.close(ours)
        os.close(theirs)


def test_shrunk_memory_raises_and_kills_nobody(run, last, monkeypatch):
    last.resize(8192)
    monkeypatch.setattr(change, "_others", lambda fd: (None, ()))
    assert run("resize", "last", "1K").exit_code == 0
    with pytest.raises((SegmentTruncated, IndexError)):
        last[5000]


def test_a_full_file_system_says_so(samemap, last):
    import resource

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    program = samemap("resize", "last", "1M", preexec_fn=limit)
    assert program.wait() == 1
    told = program.stderr.read()
    assert told.count("\n") == 1
    assert "(from 4096 to 1048576)" in told
    assert last.size == 4096
