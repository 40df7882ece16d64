"""`samemap doctor`, on what real processes leave behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest

from samemap import Lock, Namespace, Region

HOLD = "lock = Lock('jobs')\nlock.acquire()"


def records(output: str) -> dict[str, dict[str, object]]:
    return {record["check"]: record for record in map(json.loads, output.splitlines())}


@pytest.fixture
def leftover(runtime_directory, killed):
    """Leave a temporary file of a process that is gone, made long ago."""
    pid = killed("")
    file = runtime_directory / f".samemap-{pid}-0"
    file.write_bytes(b"half made")
    os.utime(file, (time.time() - 3600,) * 2)
    return file


def answered(answer: str, *arguments: str) -> tuple[str, int]:
    """Run doctor on a terminal at which somebody types."""
    ours, theirs = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "samemap", "doctor", *arguments],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, answer.encode())
    output, errors = program.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return output + errors, program.returncode


def test_the_healthy_are_told_what_was_checked(run, doing, last, runtime_directory):
    doing(HOLD)
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = " ".join(result.stdout.split())
    assert shown.startswith("Nothing is wrong. This was checked: ")
    assert f"directory {runtime_directory}: private" in shown
    assert "segments 1; objects: 1; living participants: 1 raw" in shown
    assert "raw regions 1;" in shown
    for subject in ("other files", "space in /dev/shm", "logout", "kernel", "/proc"):
        assert f" {subject} " in shown
    assert run("doctor", "--json").output == ""
    assert run("doctor", "--fix").exit_code == 0


def test_a_directory_that_nobody_made_is_healthy(run, runtime_directory, monkeypatch):
    monkeypatch.setenv("SAMEMAP_DIR", str(runtime_directory / "missing"))
    result = run("doctor")
    assert result.exit_code == 0
    assert "not made yet" in result.stdout
    assert not (runtime_directory / "missing").exists()


def test_the_dead_are_found_with_what_they_hold(run, killed, doing, runtime_directory):
    pid = killed(HOLD)
    doing("lock = Lock('jobs')")
    result = run("doctor")
    assert result.exit_code == 1
    shown = " ".join(result.stdout.split())
    assert f"jobs: dead-participants found pid {pid} ({sys.executable} -u -c" in shown
    assert "--fix takes the places of the dead from them" in shown
    assert f"jobs: held-by-the-dead found pid {pid} " in shown
    assert "cure none is needed: the next acquirer recovers it" in shown
    assert "--fix leaves it as it is" in shown
    assert shown.endswith("2 found, 0 mended, 2 left")
    seen = records(run("doctor", "--json").output)
    assert {check: found["fix"] for check, found in seen.items()} == {
        "dead-participants": "bury",
        "held-by-the-dead": None,
    }
    assert all(found["path"] == str(runtime_directory / "jobs") for found in seen.values())


def test_looking_changes_nothing(run, killed, leftover, runtime_directory):
    killed(HOLD)
    before = (runtime_directory / "jobs").read_bytes()
    assert run("doctor").exit_code == 1
    assert (runtime_directory / "jobs").read_bytes() == before
    assert leftover.exists()


def test_fix_buries_the_dead_and_leaves_their_locks_to_the_next(run, killed, doing):
    for _ in range(3):
        killed(HOLD.replace("acquire()", "acquire(timeout=5)"))
    doing("lock = Lock('jobs')")
    result = run("doctor", "--fix")
    assert result.exit_code == 1  # the lock is still that of a dead one
    assert "done      their places are free" in result.stdout
    assert "2 found, 1 mended, 1 left" in result.stdout
    seen = records(run("doctor", "--json").output)
    assert list(seen) == ["held-by-the-dead"]
    with Lock.open("jobs") as _:
        pass
    assert run("doctor").exit_code == 0


def test_who_was_buried_is_still_known_as_the_holder(run, killed, doing):
    pid = killed(HOLD)
    doing("lock = Lock('jobs')")
    run("doctor", "--fix")
    assert f"{pid} died: next acquirer recovers" in run("locks").output


def test_orphans_are_found_and_left_where_nobody_can_be_asked(run, killed, runtime_directory):
    pid = killed(HOLD)
    for arguments in (["doctor"], ["doctor", "--fix"]):
        result = run(*arguments)
        assert result.exit_code == 1
        shown = " ".join(result.stdout.split())
        assert f"jobs: orphaned found no living process uses this Lock; pid {pid} made it at 20" in shown
        assert (runtime_directory / "jobs").exists()
    assert "there is nobody to ask; --yes removes it" in shown


def test_fix_removes_orphans_when_told(run, killed, runtime_directory):
    killed(HOLD)
    result = run("doctor", "--fix", "--yes")
    assert "done      removed" in result.stdout
    assert not (runtime_directory / "jobs").exists()
    # What it held went with it.
    assert result.exit_code == 0
    assert result.stdout.endswith("3 found, 3 mended, 0 left\n")


def test_fix_in_json_says_what_came_of_each(run, killed):
    killed(HOLD)
    seen = records(run("doctor", "--fix", "--yes", "--json").output)
    assert {check: (found["mended"], found["outcome"]) for check, found in seen.items()} == {
        "orphaned": (True, "removed"),
        "dead-participants": (True, "gone with its file"),
        "held-by-the-dead": (True, "gone with its file"),
    }


@pytest.mark.parametrize(("answer", "is_removed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_fix_asks_before_it_removes(runtime_directory, answer, is_removed):
    Lock.create("jobs").close()
    output, status = answered(answer, "--fix")
    assert f"Remove {runtime_directory / 'jobs'}? [y/N]" in output
    assert status == (0 if is_removed else 1)
    assert (runtime_directory / "jobs").exists() is not is_removed
    assert ("left as it is" in output) is not is_removed


@pytest.fixture
def asked():
    """Let doctor find the orphan "jobs" and ask about it; what is called answers yes, and returns what is told then."""
    Lock.create("jobs").close()
    ours, theirs = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "samemap", "doctor", "--fix"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    question = b""
    while b"[y/N]" not in question:
        question += os.read(program.stderr.fileno(), 4096)

    def answer() -> tuple[str, int]:
        os.write(ours, b"y\n")
        output, _ = program.communicate(timeout=60)
        return " ".join(output.decode().split()), program.returncode

    yield answer
    program.kill()
    program.wait()
    os.close(ours)
    os.close(theirs)


def test_who_joins_while_the_question_is_open_keeps_the_file(asked):
    lock = Lock.open("jobs")
    told, status = asked()
    assert f"pid {os.getpid()} has joined it meanwhile" in told
    assert (status, lock.path.exists()) == (1, True)
    lock.close()


def test_an_answer_is_not_taken_for_another_file(asked, runtime_directory):
    (runtime_directory / "jobs").unlink()
    Lock.create("jobs").close()
    told, status = asked()
    assert "another file has the name by now" in told
    assert (status, (runtime_directory / "jobs").exists()) == (1, True)


def test_segments_with_a_living_participant_are_never_removed(run, doing, runtime_directory):
    doing("lock = Lock('jobs')")
    assert run("doctor", "--fix", "--yes").exit_code == 0
    assert (runtime_directory / "jobs").exists()


def test_a_reader_keeps_a_segment_from_being_an_orphan(run, doing):
    Lock.create("jobs").close()
    doing("from samemap import _core\nimport os\nlock = Lock.open('jobs', mode='r')")
    assert run("doctor").exit_code == 0


def test_raw_regions_are_left_alone(run, last, runtime_directory):
    last.close()
    assert run("doctor", "--fix", "--yes").exit_code == 0
    assert (runtime_directory / "last").exists()


def test_temporary_files_of_the_dead_are_removed(run, leftover, runtime_directory):
    mine = runtime_directory / f".samemap-{os.getpid()}-0"
    mine.touch()
    os.utime(mine, (time.time() - 3600,) * 2)
    seen = records(run("doctor", "--json").output)
    assert list(seen) == ["leftover"]
    assert seen["leftover"]["subject"] == leftover.name
    assert run("doctor", "--fix").exit_code == 0
    assert not leftover.exists()
    assert mine.exists()


def test_another_format_is_found_and_left(run, runtime_directory):
    Lock.create("jobs").close()
    with (runtime_directory / "jobs").open("r+b") as file:
        file.seek(8)
        file.write(b"\x07")
    for arguments in (["doctor"], ["doctor", "--fix", "--yes"]):
        result = run(*arguments)
        assert result.exit_code == 1
        shown = " ".join(result.stdout.split())
        assert "jobs: format found its version is 7, and 1 was expected" in shown
        assert "cure use the same version of samemap everywhere" in shown
    assert (runtime_directory / "jobs").exists()


def test_a_truncated_segment_is_found(run, runtime_directory):
    Lock.create("jobs").close()
    os.truncate(runtime_directory / "jobs", 5000)
    assert "somebody has truncated it" in " ".join(run("doctor").stdout.split())


def test_the_dead_in_a_namespace_are_named_by_object(run, killed):
    with Namespace.create("app"):
        killed("lock = Namespace('app').lock('job')\nlock.acquire()")
        assert records(run("doctor", "--json").output)["held-by-the-dead"]["subject"] == "app:job"


def test_an_unsafe_directory_is_found_and_made_private(run, runtime_directory):
    runtime_directory.chmod(0o777)
    result = run("doctor")
    assert result.exit_code == 1
    shown = " ".join(result.stdout.split())
    assert f"{runtime_directory}: directory found others may write to" in shown
    assert "(mode 0777, expected 0700)" in shown
    assert "--fix does that" in shown
    assert run("doctor", "--fix").exit_code == 0
    assert runtime_directory.stat().st_mode & 0o777 == 0o700
    assert run("doctor").exit_code == 0


def test_a_directory_that_is_a_link_is_found_and_left(run, runtime_directory, monkeypatch, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(runtime_directory)
    monkeypatch.setenv("SAMEMAP_DIR", str(link))
    result = run("doctor", "--fix")
    assert result.exit_code == 1
    assert "is a symbolic link" in " ".join(result.stdout.split())
    assert link.is_symlink()


def test_a_full_file_system_is_found(start, tmp_path):
    # A tmpfs of its own, which only this program sees.
    line = (
        f"mount -t tmpfs -o size=1m,mode=700 none {tmp_path} && head -c 1000K /dev/zero > {tmp_path}/full && "
        f"SAMEMAP_DIR={tmp_path} {sys.executable} -m samemap doctor --json"
    )
    program = start("unshare", "--mount", "sh", "-c", line)
    output, errors = program.communicate()
    if "unshare" in errors or "mount:" in errors:
        pytest.skip(f"no mounts here: {errors}")
    found = records(output)["space"]
    assert found["subject"] == str(tmp_path)
    assert re.fullmatch(r"[0-9.]+K of 1M are free, less than 102\.4K", found["found"])
    assert program.returncode == 1


def test_without_proc_it_says_so(start, runtime_directory):
    with Region.create("raw", 64):
        line = f"umount -l /proc && {sys.executable} -m samemap doctor --json"
        program = start("unshare", "--mount", "sh", "-c", line)
        output, errors = program.communicate()
    if "unshare" in errors or "umount:" in errors:
        pytest.skip(f"no mounts here: {errors}")
    assert (program.returncode, list(records(output)), errors) == (1, ["proc"], "")


def test_yes_needs_fix(run):
    result = run("doctor", "--yes")
    assert result.exit_code == 2
    assert "it goes with --fix only" in result.stderr
