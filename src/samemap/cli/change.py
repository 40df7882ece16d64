"""``samemap rm`` and ``samemap resize``."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import click

from ..holders import Holder, Survey, locate, survey
from ..names import resolve
from ..region import Region
from .display import counted_processes, echo_json, printable
from .failures import Failure, explain
from .listing import describe
from .parameters import NAME, SIZE_CHANGE, SizeChange, Trust, opening
from .segments import refuse_segment

REMOVE_EXAMPLES = """\b
Examples:
  samemap rm last
  samemap rm --force last other       no error when they are gone
  samemap rm last --json | jq .holders
"""

RESIZE_EXAMPLES = """\b
Examples:
  samemap resize last 1MiB
  samemap resize last +64K
  samemap resize last -4K --yes       do not ask, though others map it
  samemap resize big 8G --sparse      take pages when they are written
"""


@click.command("rm", epilog=REMOVE_EXAMPLES)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=NAME)
@click.option("-f", "--force", is_flag=True, help="Ignore what is missing; remove also what another user owns.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per removal: name, path, holders.")
@click.pass_context
def remove(ctx: click.Context, names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Remove the regions and segments NAME...

    Only the name goes. Processes that map it keep their memory, and share it for as long as they
    map it; you are told which. The memory is free when the last of them is done.
    """
    failed = False
    for name in names:
        try:
            _remove(name, force, as_json)
        except (OSError, ValueError) as error:
            Failure(ctx.command_path, explain(error, name)).show()
            failed = True
    if failed:
        ctx.exit(1)


def _remove(name: str, force: bool, as_json: bool) -> None:
    path = Path(resolve(name))
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if force:
            return
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ENODEV, "it is not a regular file, so no region; rm(1) removes other things", name)
        if status.st_uid != os.geteuid() and not force:
            raise PermissionError(
                errno.EPERM,
                f"it belongs to uid {status.st_uid}, you are uid {os.geteuid()}; --force removes it anyway",
                str(path),
            )
        path.unlink()
        # After the removal: whoever maps it from now on had it open before.
        found, holders = _others(fd)
    finally:
        os.close(fd)
    if as_json:
        told = [holder._asdict() for holder in holders]
        echo_json({"name": name, "path": str(path), "holders": told, "unseen_processes": found.unseen})
        return
    for holder in holders:
        click.echo(f"{printable(name)}: still mapped by {describe(holder)}; it keeps its memory", err=True)
    if found.unseen and status.st_mode & 0o077:
        unseen = counted_processes(found.unseen)
        click.echo(f"{printable(name)}: {unseen} of other users could not be looked at", err=True)


@click.command(epilog=RESIZE_EXAMPLES, context_settings={"ignore_unknown_options": True})
@click.argument("name", type=NAME)
@click.argument("size", type=SIZE_CHANGE)
@click.option("--sparse", is_flag=True, help="Do not reserve space: pages are taken when they are first written.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before shrinking what others map.")
@click.option("--force", is_flag=True, help="Resize also a segment, which destroys the object that it holds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: name, path, before, size.")
@opening
def resize(
    name: str,
    size: SizeChange,
    sparse: bool,
    yes: bool,
    force: bool,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Grow or shrink the region NAME.

    SIZE is the new size in bytes, or a change: +64K, -4K. Growth is seen by all who map it, without their
    doing anything; the new bytes are zeros.

    Shrinking takes memory away from those who map it: Python programs get SegmentTruncated at their next
    touch, and C programs die of SIGBUS. So you are asked first, unless nobody maps it, or --yes.

    A segment is refused: it holds an object of a fixed size.
    """
    path = Path(resolve(name))
    current = path.stat().st_size
    if not force:
        refuse_segment(str(path), "it never changes its size, and cutting it would destroy it")
    target = size.apply(current)
    if target < 1:
        raise ValueError(
            f"{path}: {current} bytes cannot become {target}, a region has at least 1; 'samemap rm' removes it"
        )
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    # An empty file is no region yet: it is given its size.
    with Region(name, None if current else target, sparse=sparse, **trust) as region:
        if target < current and not yes:
            _confirm(name, current, target, _others(region.fileno())[1])
        region.resize(target, sparse=sparse)
        if as_json:
            echo_json({"name": name, "path": str(path), "before": current, "size": region.size})


def _confirm(name: str, current: int, target: int, holders: tuple[Holder, ...]) -> None:
    if not holders:
        return
    for holder in holders:
        click.echo(f"{printable(name)} is mapped by {describe(holder)}", err=True)
    if sys.stdin is None or not sys.stdin.isatty():
        raise ValueError(
            f"{name}: shrinking it from {current} to {target} bytes takes memory from "
            f"{counted_processes(len(holders))}, and there is nobody to ask; --yes does it"
        )
    click.confirm(f"Shrink it from {current} to {target} bytes all the same?", abort=True, err=True)


def _others(fd: int) -> tuple[Survey, tuple[Holder, ...]]:
    identity, _ = locate(fd)
    found = survey([identity])
    return found, tuple(holder for holder in found.holders[identity] if holder.pid != os.getpid())
