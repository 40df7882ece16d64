"""`samemap.holders`: who maps a file."""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path

import pytest

from samemap import Region
from samemap.holders import Holder, Survey, locate, survey

NOBODY = 65534

MAP = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
{mapping}
os.close(fd)
print("ready")
sys.stdin.read()
"""


def held_by(path: Path, pid: int) -> list[Holder]:
    fd = os.open(path, os.O_PATH)
    try:
        file, _ = locate(fd)
        return [holder for holder in survey([file]).holders[file] if holder.pid == pid]
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("mapping", "access"),
    [
        ("m = mmap.mmap(fd, 4096)", "rw"),
        ("m = mmap.mmap(fd, 4096, prot=mmap.PROT_READ)", "r"),
        ("m = mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE)", "private"),
        (
            "m = [mmap.mmap(fd, 4096, prot=p) for p in (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE)]",
            "rw",
        ),
    ],
)
@pytest.mark.parametrize("place", ["tmpfs", "disk"])
def test_how_a_file_is_mapped(start, tmp_path, runtime_directory, mapping, access, place):
    path = (runtime_directory if place == "tmpfs" else tmp_path) / "file with a space"
    path.write_bytes(bytes(8192))
    program = start(path, source=MAP.format(mapping=mapping))
    assert program.stdout.readline() == "ready\n"
    (holder,) = held_by(path, program.pid)
    assert holder.access == access
    assert holder.command.endswith(f"'{path}'")


def test_a_file_merely_open_is_not_mapped(start, runtime_directory):
    path = runtime_directory / "file"
    path.write_bytes(bytes(4096))
    program = start(path, source=MAP.format(mapping=""))
    assert program.stdout.readline() == "ready\n"
    assert held_by(path, program.pid) == []


def test_a_removed_file_is_still_mapped(runtime_directory):
    with Region.create("last", 4096) as region:
        region.unlink()
        file, mount = locate(region.fileno())
        assert mount.kind == "tmpfs"
        assert os.getpid() in [holder.pid for holder in survey([file]).holders[file]]


def test_anonymous_memory(runtime_directory):
    with Region(None, 4096) as region:
        file, _ = locate(region.fileno())
        assert [holder.pid for holder in survey([file]).holders[file]] == [os.getpid()]
    assert survey([file]).holders[file] == ()


def test_many_files_at_once(runtime_directory):
    with Region.create("one", 4096) as one, Region.create("two", 4096, perm=0o600) as two:
        files = [locate(region.fileno())[0] for region in (one, two)]
        found = survey(files)
        assert all(os.getpid() in [h.pid for h in found.holders[file]] for file in files)
        assert survey([]) == Survey({}, 0)


def test_what_another_user_may_not_see_is_counted(runtime_directory):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with Region.create("last", 4096) as region:
        file, _ = locate(region.fileno())
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            # No exec: the interpreter may lie where nobody else can read it.
            status = 1
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                found = survey([file])
                os.write(write, json.dumps([found.unseen, [holder.pid for holder in found.holders[file]]]).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        with os.fdopen(read) as pipe:
            unseen, seen = json.loads(pipe.read())
        assert os.waitpid(child, 0)[1] == 0
        # At least this process, which is root's and maps the file.
        assert unseen >= 1
        assert os.getpid() not in seen


def test_private_memory_of_this_process_is_told_from_shared(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_COPY):
        assert [holder.access for holder in held_by(path, os.getpid())] == ["private"]
