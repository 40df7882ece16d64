"""``samemap doctor``: what is wrong with shared memory here, what that means, and what helps."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import click

from .._core import Segment, Topic
from ..holders import FileId, Holder, locate, survey
from ..names import runtime_directory
from . import checks, logind, topic_checks
from .checks import Finding, Fix, SegmentFile
from .display import echo_json, human_size, owner_name, printable
from .failures import explain
from .observe import observe
from .segments import Description, describe_segment, looked_at, problem_of

__all__ = ["Examination", "doctor", "examine"]

EXAMPLES = """\b
Examples:
  samemap doctor
  samemap doctor --fix           asks before it removes a segment
  samemap doctor --fix --yes     does not
  samemap doctor --json | jq -r .cure
"""

_PROC = Path("/proc")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - its space is what is looked at


class Examination(NamedTuple):
    """What was looked at.

    Attributes:
        findings: What is wrong.
        checked: What was checked, and how that was found, by subject.
    """

    findings: list[Finding]
    checked: dict[str, str]


@click.command(epilog=EXAMPLES)
@click.option("--fix", is_flag=True, help="Mend what can be mended; it is said with each finding.")
@click.option("-y", "--yes", is_flag=True, help="With --fix: do not ask before removing segments that nobody uses.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per finding.")
@click.pass_context
def doctor(ctx: click.Context, fix: bool, yes: bool, as_json: bool) -> None:
    """Look for what is wrong, and tell what that means and what helps.

    It looks at the runtime directory ($SAMEMAP_DIR, else /dev/shm/samemap-UID) and at this machine: dead
    processes in rosters, locks held by the dead, topics with slots that the dead have pinned, or with none
    left, segments that nobody uses, temporary files left behind, segments that this version does not understand,
    space that runs out, files that a logout would delete, and what the kernel lacks.

    Without --fix it changes nothing. With it, segments that a living process has joined stay, and so do raw
    regions.

    The exit status is 1 while something remains to be mended. Notes do not count.
    """
    if yes and not fix:
        raise click.UsageError("--yes answers what --fix asks: it goes with --fix only")
    examination = examine()
    remaining = 0
    gone: set[Path] = set()
    for finding in examination.findings:
        if finding.path in gone:
            if as_json:
                echo_json({**finding.record(), "mended": True, "outcome": "gone with its file"})
            continue
        if not as_json:
            _show(finding)
        outcome = _mend(finding, yes) if fix and finding.fix is not None else None
        is_mended = outcome is not None and outcome.is_mended
        if is_mended and finding.path is not None and not finding.path.exists():
            gone.add(finding.path)
        remaining += not (is_mended or finding.is_note)
        if as_json:
            told = None if outcome is None else outcome.text
            echo_json({**finding.record(), "mended": is_mended, "outcome": told})
        elif outcome is not None:
            _show_line("done" if is_mended else "not done", outcome.text, "green" if is_mended else "red")
    if not as_json:
        _conclude(examination, remaining)
    if remaining:
        ctx.exit(1)


class _Outcome(NamedTuple):
    is_mended: bool
    text: str


def examine() -> Examination:
    """Look at the runtime directory and at this machine, and change nothing."""
    findings: list[Finding] = []
    checked: dict[str, str] = {}

    def note(subject: str, found: Iterator[Finding], otherwise: str) -> None:
        before = len(findings)
        findings.extend(found)
        if len(findings) == before:
            checked[subject] = otherwise

    directory = _directory(findings)
    if directory is not None:
        checked["directory"] = f"{directory}: {'private' if directory.exists() else 'not made yet'}"
        _examine_files(directory, findings, checked)
    for path in _file_systems(directory):
        space = os.statvfs(path)
        total, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
        note(f"space in {path}", checks.tight(path, total, free), f"{human_size(free)} of {human_size(total)} are free")
    if directory is not None:
        user = owner_name(os.geteuid())
        found = logind.remove_ipc(Path("/"), os.geteuid(), user, directory)
        note("logout", found, "deletes nothing of yours that samemap uses")
    release = os.uname().release
    note("kernel", checks.old_kernel(release), f"Linux {release} has all that is used")
    note("/proc", checks.no_proc(_PROC), "is mounted")
    return Examination(findings, checked)


def _directory(findings: list[Finding]) -> Path | None:
    try:
        return runtime_directory()
    except OSError as error:
        path = Path(str(error.filename))
        is_mine = path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.geteuid()
        findings.append(checks.unsafe_directory(error, is_mine=is_mine))
        return None


def _file_systems(directory: Path | None) -> Iterator[Path]:
    devices = set()
    for path in (_SHARED_MEMORY, directory):
        # One that is to be made will be on the file system of the nearest that is there.
        there = next((place for place in (path, *path.parents) if place.exists()), None) if path is not None else None
        if there is not None and (device := there.stat().st_dev) not in devices:
            devices.add(device)
            yield there


def _examine_files(directory: Path, findings: list[Finding], checked: dict[str, str]) -> None:
    now = time.time()
    raw = 0
    files: list[SegmentFile] = []
    temporary: list[tuple[str, float]] = []
    mapped_by = _mappers(directory)
    for path in sorted(directory.iterdir()) if directory.exists() else []:
        try:
            if path.is_symlink() or not path.is_file():
                continue
            if path.name.startswith("."):
                temporary.append((path.name, path.stat().st_mtime))
                continue
            found = _segment_in(path, mapped_by)
        except FileNotFoundError:
            continue  # it went meanwhile
        except PermissionError as error:
            findings.append(checks.unreadable(path, error))
            continue
        if found is None:
            raw += 1
        else:
            files.append(found)
    for file in files:
        findings.extend(checks.orphaned(file, now))
        findings.extend(checks.dead_participants(file, now))
        findings.extend(checks.held_by_the_dead(file, now))
        findings.extend(topic_checks.pinned_by_the_dead(file))
        findings.extend(topic_checks.all_pinned(file))
        findings.extend(topic_checks.waited_for(file))
        findings.extend(checks.damaged(file))
    findings.extend(checks.leftovers(directory, temporary, _is_running, now))
    alive = sum(file.segment.alive for file in files)
    objects = sum(len(file.sights) for file in files)
    checked["segments"] = f"{len(files)}; objects: {objects}; living participants: {alive}"
    checked["raw regions"] = f"{raw}; what they hold is theirs to know"
    checked["other files"] = "no temporary ones were left behind"


def _segment_in(path: Path, mapped_by: dict[FileId, tuple[Holder, ...]]) -> SegmentFile | None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        segment = describe_segment(path, fd)
        if segment is None:
            return None
        size = os.fstat(fd).st_size
        mappers = mapped_by.get(locate(fd)[0], ()) if mapped_by else ()
        if segment.kind is None:
            return SegmentFile(path, size, segment, (), mappers)
        try:
            with looked_at(path, fd=fd) as opened:
                return SegmentFile(path, size, segment, tuple(observe(opened)), mappers)
        except (OSError, ValueError, IndexError) as error:
            return SegmentFile(path, size, segment._replace(kind=None, problem=problem_of(error)), (), mappers)
    finally:
        os.close(fd)


def _mappers(directory: Path) -> dict[FileId, tuple[Holder, ...]]:
    """Return which processes map the files in a directory; this one maps none of them yet."""
    files: list[FileId] = []
    if not directory.exists() or not (_PROC / "self" / "fd").exists():
        return {}
    for path in directory.iterdir():
        try:
            fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            files.append(locate(fd)[0])
        finally:
            os.close(fd)
    return dict(survey(files).holders)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _mend(finding: Finding, yes: bool) -> _Outcome:
    assert finding.path is not None  # noqa: S101 - whatever can be mended has one
    try:
        match finding.fix:
            case Fix.BURY:
                return _bury(finding.path)
            case Fix.UNPIN:
                return _unpin(finding.path)
            case Fix.REMOVE_SEGMENT:
                return _remove_segment(finding.path, yes)
            case Fix.REMOVE_TEMPORARY:
                finding.path.unlink(missing_ok=True)
                return _Outcome(True, "removed")
            case _:
                return _make_private(finding.path)
    except (OSError, ValueError) as error:
        return _Outcome(False, explain(error, str(finding.path)))


def _bury(path: Path) -> _Outcome:
    # Writing means taking part. The place for that may be a dead one's.
    segment = Segment(str(path), "open", None, [0, 0, 0], 0, "", 0, True, False, False, -1)
    try:
        segment.bury()
        left = sum(not participant.alive for participant in segment.participants())
    finally:
        segment.close()
    return _Outcome(left == 0, "their places are free" if left == 0 else f"{left} dead are still listed")


def _unpin(path: Path) -> _Outcome:
    with closing(Segment(str(path), "open", "Topic", [0, 0, 0], 0, "", 0, True, False, False, -1)) as segment:
        with closing(Topic(segment, None, True, "wait")) as topic:
            topic._bury()
        left = sum(hold.amount for sight in observe(segment) for hold in sight.dead)
    return _Outcome(left == 0, "its slots are free" if left == 0 else f"{left} slots are still pinned by the dead")


def _remove_segment(path: Path, yes: bool) -> _Outcome:
    # Open while the question is: the answer is for this file, and for no other that gets its name meanwhile.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not yes:
            if sys.stdin is None or not sys.stdin.isatty():
                return _Outcome(False, "there is nobody to ask; --yes removes it")
            if not click.confirm(f"  Remove {printable(str(path))}?", default=False, err=True):
                return _Outcome(False, "left as it is")
        segment = describe_segment(path, fd)
        if segment is None or segment.kind is None:
            return _Outcome(False, "it is no segment any more")
        if segment.alive:
            return _Outcome(False, f"{_pids(segment)} has joined it meanwhile")
        if not os.path.samestat(path.lstat(), os.fstat(fd)):
            return _Outcome(False, "another file has the name by now")
        path.unlink()
    finally:
        os.close(fd)
    return _Outcome(True, "removed")


def _pids(segment: Description) -> str:
    return ", ".join(f"pid {found.pid}" for found in segment.participants if found.alive)


def _make_private(path: Path) -> _Outcome:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o700)
    finally:
        os.close(fd)
    return _Outcome(True, "its mode is 0700; look at who made the files in it before you use them")


def _show(finding: Finding) -> None:
    head = f"{printable(finding.subject)}: {finding.check}"
    click.echo(click.style(f"{head} (a note)" if finding.is_note else head, bold=True))
    _show_line("found", finding.found)
    _show_line("means", finding.meaning)
    _show_line("cure", finding.cure)
    if not finding.is_note:
        _show_line("--fix", finding.fix.value if finding.fix else "leaves it as it is")


def _show_line(label: str, text: str, colour: str | None = None, column: int = 10) -> None:
    width = max(shutil.get_terminal_size().columns, 40)
    indent = " " * (column + 2)
    # Paths and commands stay whole, so that they can be copied.
    wrapped = textwrap.wrap(printable(text), width - len(indent), break_long_words=False, break_on_hyphens=False)
    click.echo(f"  {click.style(label.ljust(column), fg=colour)}" + f"\n{indent}".join(wrapped or [""]))


def _conclude(examination: Examination, remaining: int) -> None:
    findings = [finding for finding in examination.findings if not finding.is_note]
    if findings:
        click.echo(f"{len(findings)} found, {len(findings) - remaining} mended, {remaining} left")
        return
    click.echo(click.style("Nothing is wrong. This was checked:", bold=True))
    for subject, found in examination.checked.items():
        _show_line(subject, found, column=max(map(len, examination.checked)) + 2)
