"""``samemap ls`` and ``samemap stat``: what regions and segments there are, and everything known of one."""

from __future__ import annotations

import errno
import os
import stat as modes
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..holders import FileId, Holder, Mount, Survey, locate, survey
from ..names import resolve, runtime_directory
from .channels import CHANNELS
from .display import counted_processes, echo_json, human_size, iso_time, owner_name, printable, table
from .parameters import NAME, Trust
from .segments import Description, describe_segment, look_at, problem_of
from .topic_report import Report

LIST_EXAMPLES = """\b
Examples:
  samemap ls                    your regions
  samemap ls /dev/shm           all files directly in shared memory
  samemap ls --json | jq -r 'select(.processes == 0) | .name'
  samemap ls --json | jq -r 'select(.kind == "region") | .path'
"""

STAT_EXAMPLES = """\b
Examples:
  samemap stat last
  samemap stat camera           who publishes, who subscribes
  samemap stat /tmp/mapped.bin --json | jq .holders
"""

#: Columns of the labels of `stat`, and what stands before a second line.
WIDEST = 10
INDENT = "\n" + " " * (WIDEST + 1)

#: How far `stat` looks for the NUL that ends a text.
TEXT_LIMIT = 65536


class Facts(NamedTuple):
    """What the file system says of a file, and what the file says of itself.

    Attributes:
        path: Where it is.
        status: Its size, owner, times and so on.
        identity: How the kernel names it where it tells who maps it.
        mount: Where it is mounted.
        readable: Whether this user may read it.
        segment: What it says of itself, if it is a segment.
        text: The text at its start, if it is a raw region and that is text.
    """

    path: Path
    status: os.stat_result
    identity: FileId
    mount: Mount
    readable: bool
    segment: Description | None
    text: str | None

    @property
    def kind(self) -> str | None:
        """``"region"``, the class of what a segment holds, or ``None`` where that is not known."""
        if not self.readable:
            return None
        return "region" if self.segment is None else self.segment.kind

    @classmethod
    def of(cls, path: Path) -> Facts:
        """Look at a file without following a symbolic link, and without changing it.

        Raises:
            OSError: It is missing; ``ELOOP``: it is a symbolic link; ``ENODEV``: it is no regular file.
        """
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if modes.S_ISLNK(status.st_mode):
                target = path.readlink()
                raise OSError(
                    errno.ELOOP,
                    f"it is a symbolic link; look at {target} if you trust who made it",
                    str(path),
                )
            if not modes.S_ISREG(status.st_mode):
                raise OSError(errno.ENODEV, "it is not a regular file, so no region", str(path))
            identity, mount = locate(fd)
            return cls(path, status, identity, mount, *_contents(path, fd))
        finally:
            os.close(fd)

    def record(self) -> dict[str, Any]:
        """Return what `ls` and `stat` both tell, for JSON."""
        return {
            "name": self.path.name,
            "path": str(self.path),
            "kind": self.kind,
            "size": self.status.st_size,
            "allocated": self.status.st_blocks * 512,
            "perm": f"{modes.S_IMODE(self.status.st_mode):04o}",
            "owner": owner_name(self.status.st_uid),
            "modified": iso_time(self.status.st_mtime),
        }


@click.command("ls", epilog=LIST_EXAMPLES)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per line, with exact sizes.")
def list_regions(directory: Path | None, as_json: bool) -> None:
    """List regions and segments, and how many processes map them.

    They are those in the runtime directory ($SAMEMAP_DIR, else /dev/shm/samemap-UID), or the files in
    DIRECTORY.

    KIND is 'region' for raw bytes, and the class of what a segment holds: Topic, Latest, Lock, ... It is
    '?' for what you may not read, and for a segment that this version does not understand; 'stat' says why.

    PROCS says how many map the file. The kernel shows the mappings of other users' processes to root
    only, and those of other containers to nobody inside: a '?' after the number says that some could not
    be looked at.

    ALLOCATED is less than SIZE in a sparse file. MODIFIED may be old: what programs store into mapped
    memory need not change it.
    """
    chosen = runtime_directory() if directory is None else directory.absolute()
    regions = _regions(chosen, missing_ok=directory is None)
    found = survey([facts.identity for facts in regions])
    if as_json:
        for facts in regions:
            processes = len(found.holders[facts.identity])
            echo_json({**facts.record(), "processes": processes, "unseen_processes": found.unseen})
    elif regions:
        heading = ("NAME", "KIND", "SIZE", "ALLOCATED", "PERM", "OWNER", "MODIFIED", "PROCS")
        lines = table([heading, *(_row(facts, found) for facts in regions)], right=frozenset({2, 3, 7}))
        for number, line in enumerate(lines):
            click.echo(click.style(line, bold=True) if number == 0 else line)
    elif sys.stdout.isatty():
        click.echo(f"no regions in {printable(str(chosen))}", err=True)


def _regions(directory: Path, *, missing_ok: bool) -> list[Facts]:
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except FileNotFoundError:
        if not missing_ok:
            raise
        return []  # nobody has made a region yet
    regions = []
    for name in names:
        if not name.startswith("."):
            try:
                regions.append(Facts.of(directory / name))
            except OSError:
                continue  # a directory, a link; or it went meanwhile
    return regions


def _row(facts: Facts, found: Survey) -> tuple[str, ...]:
    record = facts.record()
    return (
        printable(record["name"]),
        facts.kind or "?",
        human_size(record["size"]),
        human_size(record["allocated"]),
        record["perm"],
        record["owner"],
        _shown_time(facts.status.st_mtime),
        f"{len(found.holders[facts.identity])}{'?' if found.unseen else ''}",
    )


@click.command(epilog=STAT_EXAMPLES)
@click.argument("name", type=NAME)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with exact sizes.")
def stat(name: str, as_json: bool) -> None:
    """Tell everything that is known of the region or segment NAME.

    That is what the file system says, and who maps it; of a raw region, whether it looks like NUL-ended
    text at offset 0; of a segment, what it holds, who made it, and who takes part; of a topic or a newest
    value, what its messages are, who publishes, and who subscribes. Looking changes nothing.

    The kernel shows the mappings of other users' processes to root only, and those of other containers to
    nobody inside. Processes that have the file open without mapping it are not listed.
    """
    facts = Facts.of(Path(resolve(name)))
    found = survey([facts.identity])
    holders = found.holders[facts.identity]
    status = facts.status
    report = _report(facts)
    if as_json:
        echo_json(
            {
                **facts.record(),
                "uid": status.st_uid,
                "gid": status.st_gid,
                "inode": status.st_ino,
                "links": status.st_nlink,
                "device": facts.mount.device,
                "filesystem": facts.mount.kind,
                "accessed": iso_time(status.st_atime),
                "changed": iso_time(status.st_ctime),
                "text": facts.text,
                "segment": None if facts.segment is None else facts.segment.record(),
                "topic": report.record() if isinstance(report, Report) else report,
                "holders": [holder._asdict() for holder in holders],
                "unseen_processes": found.unseen,
            }
        )
        return
    for label, value in (
        ("path", printable(str(facts.path))),
        ("kind", _shown_kind(facts)),
        ("size", _exact_size(status.st_size)),
        ("allocated", _exact_size(status.st_blocks * 512)),
        ("perm", f"{modes.filemode(status.st_mode)} ({modes.S_IMODE(status.st_mode):04o})"),
        ("owner", f"{owner_name(status.st_uid)} (uid {status.st_uid}, gid {status.st_gid})"),
        ("modified", iso_time(status.st_mtime)),
        ("changed", iso_time(status.st_ctime)),
        ("accessed", iso_time(status.st_atime)),
        ("inode", f"{status.st_ino} on device {facts.mount.device}, {facts.mount.kind}"),
        *_shown_contents(facts),
        *_shown_report(report),
        ("mapped by", _shown_holders(holders, found.unseen)),
    ):
        click.echo(f"{click.style(label.ljust(WIDEST), bold=True)} {value}")


def _report(facts: Facts) -> Report | dict[str, str] | None:
    """Return what is known of a topic, or why nothing is; ``None`` where there is none."""
    if facts.segment is None or facts.segment.kind not in CHANNELS:
        return None
    try:
        # It was readable a moment ago, whoever owns it.
        return Report.of(look_at(facts.path, Trust(any_owner=True, follow_symlinks=False)))
    except (OSError, ValueError, IndexError) as error:
        return {"problem": problem_of(error)}


def _shown_report(report: Report | dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    if isinstance(report, Report):
        return tuple((label, INDENT.join(lines)) for label, lines in report.lines())
    return () if report is None else (("messages", printable(report["problem"])),)


def describe(holder: Holder) -> str:
    """Return one line about a process that maps a region."""
    return f"pid {holder.pid} ({holder.access}) {printable(holder.command)}"


def _shown_holders(holders: tuple[Holder, ...], unseen: int) -> str:
    lines = [describe(holder) for holder in holders] or ["nobody"]
    if unseen:
        lines.append(f"? perhaps more: {counted_processes(unseen)} did not let us look")
    return INDENT.join(lines)


def _shown_kind(facts: Facts) -> str:
    if facts.segment is not None and facts.segment.problem is not None:
        return f"segment, but {printable(facts.segment.problem)}"
    if not facts.readable:
        return "unknown: you may not read it"
    return "region: raw bytes" if facts.segment is None else f"{facts.segment.kind}, in a segment"


def _shown_contents(facts: Facts) -> tuple[tuple[str, str], ...]:
    segment = facts.segment
    if segment is None:
        return (("text", _shown_text(facts.text)),)
    if segment.kind is None:
        return ()
    return (
        ("id", segment.id),
        ("format", f"version {segment.version}"),
        ("created", f"{iso_time(segment.created)} by pid {segment.creator}"),
        ("takes part", _shown_participants(segment)),
    )


def _shown_participants(segment: Description) -> str:
    counted = f"{segment.alive} alive of {segment.places} places"
    told = [
        f"pid {found.pid}{'' if found.alive else ' (died)'} {printable(found.command)}"
        for found in segment.participants
    ]
    return INDENT.join([counted, *told])


def _shown_text(text: str | None) -> str:
    if text is None:
        return "no"
    start = printable(text[:60])
    more = "..." if len(text) > 60 else ""
    return f"'{start}'{more} ({len(text.encode())} bytes)" if text else "empty (starts with a NUL)"


def _shown_time(seconds: float) -> str:
    # To the minute: a line is to fit a terminal of 80 columns.
    return iso_time(seconds)[:16].replace("T", " ")


def _exact_size(size: int) -> str:
    human = human_size(size)
    return f"{size} bytes" + (f" ({human})" if human != str(size) else "")


def _contents(path: Path, fd: int) -> tuple[bool, Description | None, str | None]:
    """Return whether we may read the file, what it says of itself as a segment, and as text."""
    try:
        readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return False, None, None
    try:
        segment = describe_segment(path, readable)
        return True, segment, _text(readable) if segment is None else None
    finally:
        os.close(readable)


def _text(fd: int) -> str | None:
    """Return the text before the first NUL, if that is how the file starts."""
    # Not through a mapping: that takes pages for the holes of a sparse file.
    start, nul, _ = os.pread(fd, TEXT_LIMIT, 0).partition(b"\0")
    try:
        text = start.decode() if nul else None
    except UnicodeDecodeError:
        return None
    return text if text is not None and all(c.isprintable() or c.isspace() for c in text) else None
