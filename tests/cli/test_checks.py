"""The checks of `samemap doctor`, each on what it is given."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

import pytest

from samemap.cli import checks
from samemap.cli.checks import Fix, SegmentFile
from samemap.cli.observe import Hold, Sight
from samemap.cli.segments import Description
from samemap.holders import Holder

NOW = 1_800_000_000.0


class Somebody(NamedTuple):
    """What the checks ask of a participant."""

    pid: int
    alive: bool
    command: str = "python worker.py"
    joined: float = NOW - 600


def segment_file(*participants: Somebody, sights: tuple[Sight, ...] = (), **more: object) -> SegmentFile:
    described = Description("Lock", None, 1, "00ff", NOW - 7200, 4711, 128, participants)
    return SegmentFile(Path("/dev/shm/samemap-1/jobs"), 28672, described, sights, **more)


def hold(*, alive: bool, pid: int | None = 4711) -> Hold:
    return Hold(pid, "python worker.py", 1000, alive, True, NOW - 60, 1, None, "holder", "next acquirer recovers")


def test_the_dead_in_a_roster_are_found():
    file = segment_file(Somebody(1, True), Somebody(2, False), Somebody(3, False))
    (finding,) = checks.dead_participants(file, NOW)
    assert finding.subject == "jobs"
    assert finding.found == (
        "pid 2 (python worker.py; it joined 10 min ago); pid 3 (python worker.py; it joined 10 min ago) "
        "died without leaving"
    )
    assert "one of 128 places" in finding.meaning
    assert (finding.fix, finding.path) == (Fix.BURY, file.path)


def test_many_dead_are_counted():
    (finding,) = checks.dead_participants(segment_file(*(Somebody(pid, False) for pid in range(1, 11))), NOW)
    assert "pid 3 " in finding.found
    assert "pid 4 " not in finding.found
    assert "; and 7 more died" in finding.found


def test_a_roster_of_the_living_is_healthy():
    assert not list(checks.dead_participants(segment_file(Somebody(1, True)), NOW))


def test_a_lock_of_a_dead_holder_is_found_and_left_to_the_next():
    sights = (
        Sight("a", "Lock", "held", (hold(alive=False),)),
        Sight("b", "Lock", "held", (hold(alive=True),)),
        Sight("c", "Lock", "held", (hold(alive=False, pid=None),)),
    )
    first, second = checks.held_by_the_dead(segment_file(sights=sights), NOW)
    assert first.subject == "jobs:a"
    assert first.found == "pid 4711 (python worker.py) died holding this Lock, which it took 1 min ago"
    assert first.cure == "none is needed: the next acquirer recovers it, and is told (lock.recovered, or OwnerDied)"
    assert first.fix is None
    assert second.found.startswith("a process that is gone ended holding")


@pytest.mark.parametrize(
    ("file", "is_orphaned"),
    [
        (segment_file(), True),
        (segment_file(Somebody(1, False)), True),
        (segment_file(Somebody(1, False), Somebody(2, True)), False),
        (segment_file(mapped_by=(Holder(5, "tail", "r"),)), False),
        (segment_file()._replace(segment=Description(None, "its version is 7", 7)), False),
    ],
)
def test_a_segment_without_users_is_orphaned(file, is_orphaned):
    found = list(checks.orphaned(file, NOW))
    assert len(found) == is_orphaned
    for finding in found:
        assert finding.found.startswith("no living process uses this Lock; pid 4711 made it at 20")
        assert finding.found.endswith(", 2 h ago")
        assert "28K" in finding.meaning
        assert finding.fix is Fix.REMOVE_SEGMENT


def test_a_segment_of_another_format_is_found():
    problem = "its version is 7, and 1 was expected: use the same version of samemap everywhere"
    file = segment_file()._replace(segment=Description(None, problem, 7))
    (finding,) = checks.damaged(file)
    assert finding.found == "its version is 7, and 1 was expected"
    assert finding.cure == "use the same version of samemap everywhere"
    assert finding.fix is None


def test_a_damaged_object_is_found_beside_healthy_ones():
    sights = (Sight("a", "Lock", "free"), Sight("b", "Barrier", "damaged", problem="byte 9 is outside"))
    (finding,) = checks.damaged(segment_file(sights=sights))
    assert (finding.subject, finding.found) == ("jobs:b", "byte 9 is outside")
    assert "samemap rm" in finding.cure


def test_temporary_files_of_the_dead_are_found():
    old, young = NOW - 3600, NOW - 5
    entries = [
        (".samemap-11-0", old),
        (".samemap-12-3", old),
        (".samemap-11-1", young),
        (".samemap-11-x", old),
        (".samemap-011-1", old),
        (".hidden", old),
        ("samemap-11-0", old),
    ]
    found = list(checks.leftovers(Path("/d"), entries, lambda pid: pid == 12, NOW))
    assert [(finding.subject, finding.fix, finding.path) for finding in found] == [
        (".samemap-11-0", Fix.REMOVE_TEMPORARY, Path("/d/.samemap-11-0"))
    ]
    assert "pid 11, which made this temporary file 1 h ago, is gone" in found[0].found


@pytest.mark.parametrize(
    ("total", "free", "is_tight"),
    [
        (64 << 20, 6 << 20, True),  # docker's /dev/shm: a tenth counts
        (64 << 20, 7 << 20, False),
        (16 << 30, 63 << 20, True),
        (16 << 30, 65 << 20, False),
        (0, 0, False),  # no limit
        (1 << 20, 0, True),
    ],
)
def test_space_is_tight_below_a_tenth_or_64_mib(total, free, is_tight):
    found = list(checks.tight(Path("/dev/shm"), total, free))
    assert len(found) == is_tight
    for finding in found:
        assert "--shm-size" in finding.cure
        assert "SAMEMAP_DIR" in finding.cure


@pytest.mark.parametrize(
    ("release", "is_old"),
    [
        ("5.15.0-91-generic", True),
        ("4.19.0", True),
        ("5.16.0", False),
        ("6.1", False),
        ("10.2.0", False),
        ("strange", False),
    ],
)
def test_an_old_kernel_is_noted(release, is_old):
    found = list(checks.old_kernel(release))
    assert len(found) == is_old
    assert all(finding.is_note for finding in found)


def test_a_proc_that_is_not_mounted_is_found(tmp_path):
    (finding,) = checks.no_proc(tmp_path)
    assert finding.cure == f"mount -t proc proc {tmp_path}"
    assert not list(checks.no_proc(Path("/proc")))


def test_an_unsafe_directory_is_made_private_only_if_it_is_mine():
    error = PermissionError(errno.EPERM, "others may write to it (mode 0777, expected 0700); chmod 700 it", "/d")
    finding = checks.unsafe_directory(error, is_mine=True)
    assert (finding.found, finding.cure) == ("others may write to it (mode 0777, expected 0700)", "chmod 700 it")
    assert finding.fix is Fix.MAKE_PRIVATE
    assert checks.unsafe_directory(error, is_mine=False).fix is None


def test_records_are_for_json():
    (finding,) = checks.orphaned(segment_file(), NOW)
    record = finding.record()
    assert (record["check"], record["fix"], record["path"]) == ("orphaned", "remove_segment", str(finding.path))
    assert finding._replace(fix=None, path=None).record()["fix"] is None
