"""``samemap locks``: who holds what, since when, and who waits."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ..names import resolve, runtime_directory
from .display import echo_json, listener_gone, printable
from .failures import Failure, explain
from .lock_table import Row, lines
from .observe import Sight, observe
from .parameters import NAME, Duration, Trust, opening
from .screen import Screen
from .segments import is_segment, looked_at, problem_of, trouble

__all__ = ["find_rows", "locks"]

EXAMPLES = """\b
Examples:
  samemap locks                       all in the runtime directory
  samemap locks jobs /tmp/build.lock
  samemap locks --watch 1s            until Ctrl-C
  samemap locks --json | jq -r 'select(.state == "held") | .name'
"""

NONE = "no locks, nor others of their family"


@click.command(epilog=EXAMPLES)
@click.argument("names", metavar="[NAME]...", nargs=-1, type=NAME)
@click.option(
    "--watch", type=Duration(minimum=0.1), help="Show it again and again, this far apart, in place on a terminal."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per lock or other object.")
@opening
@click.pass_context
def locks(
    ctx: click.Context,
    names: tuple[str, ...],
    watch: float | None,
    as_json: bool,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Show locks and their family, and topics: who holds them, and who waits.

    They are those in the runtime directory ($SAMEMAP_DIR, else /dev/shm/samemap-UID), or in the segments
    NAME. An object of a namespace is shown as NAMESPACE:OBJECT.

    Looking changes nothing: segments are mapped read-only, and the permission to read is enough. It does
    not take part, so nobody sees it in a roster.

    STATE is free or held; the permits of a semaphore that are free; set or clear; how many of a barrier's
    parties wait; the value of a counter; how many of a topic's slots are pinned. SINCE says how long ago
    the holder took it. WAITING counts threads and tasks, and names their processes. RECOVERED counts
    takeovers from the dead.

    Those who hold a topic are subscribers with samples that they have not released, and those for whom
    publishers wait: with the policy "block", and with more unread messages than there is room for. 'samemap
    stat' tells of all.

    A holder that died is marked: whoever acquires the lock next gets it, and is told. A pid with a '?' is
    of another pid namespace, where it means another process than here.

    A process whose threads wait for several objects of one namespace is shown with one of them.

    Raw regions are not listed. A segment that cannot be understood is, with what is wrong; the exit status
    is then 1.
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    if watch is None:
        rows = find_rows(names, trust)
        _show(rows, as_json)
        if _tell(ctx, _problems(rows)):
            ctx.exit(1)
    elif sys.stdout.isatty() and not as_json:
        with Screen() as screen:
            while True:
                rows = find_rows(names, trust)
                screen.show(_frame(rows))
                time.sleep(watch)
    else:
        told: set[str] = set()
        while not listener_gone():
            rows = find_rows(names, trust)
            _show(rows, as_json)
            told |= _tell(ctx, _problems(rows) - told)
            time.sleep(watch)


def find_rows(names: tuple[str, ...], trust: Trust) -> list[Row]:
    """Look at all objects of some segments, or of the runtime directory.

    Args:
        names: Segments; none for all in the runtime directory.
        trust: Which files may be opened.

    Returns:
        A row for each object, and one for each segment that cannot be looked at.

    Raises:
        PermissionError: The runtime directory is unsafe.
    """
    if names:
        return [row for name in names for row in _rows_of(name, resolve(name), trust)]
    directory = runtime_directory()
    try:
        found = sorted(entry.name for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return []  # nobody has made anything yet
    files = ((name, str(directory / name)) for name in found if not name.startswith("."))
    return [row for name, path in files if _may_be_segment(path) for row in _rows_of(name, path, trust, listed=True)]


def _may_be_segment(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return is_segment(file.read(8))
    except FileNotFoundError:
        return False
    except OSError:
        return True  # opening it will tell why it cannot be read


def _rows_of(name: str, path: str, trust: Trust, *, listed: bool = False) -> Iterator[Row]:
    try:
        with looked_at(path, trust) as segment:
            sights = list(observe(segment))
            if not sights and segment.kind == "Namespace":
                sights = [Sight("", "Namespace", "empty")]
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, FileNotFoundError):
            if listed:
                return  # it went meanwhile
            # Not with the cures for regions.
            error = FileNotFoundError(error.errno, os.strerror(error.errno or 0), path)
        problem = explain(error, path) if isinstance(error, OSError) else f"{printable(path)}: {problem_of(error)}"
        sights = [Sight("", None, trouble(error), problem=problem)]
    yield from (Row(name, path, sight) for sight in sights)


def _problems(rows: list[Row]) -> set[str]:
    return {row.sight.problem for row in rows if row.sight.problem is not None}


def _tell(ctx: click.Context, problems: set[str]) -> set[str]:
    for problem in sorted(problems):
        Failure(ctx.command_path, problem).show()
    return problems


def _show(rows: list[Row], as_json: bool) -> None:
    is_terminal = sys.stdout.isatty()
    if as_json:
        for row in rows:
            echo_json(row.record())
    elif rows:
        for line in lines(rows, time.time(), shutil.get_terminal_size().columns if is_terminal else None):
            click.echo(line)
    elif is_terminal:
        click.echo(NONE, err=True)


def _frame(rows: list[Row]) -> list[str]:
    width = shutil.get_terminal_size().columns
    shown = list(lines(rows, time.time(), width)) if rows else [NONE]
    for problem in sorted(_problems(rows)):
        shown += ["", *(click.style(line, fg="red") for line in click.wrap_text(problem, width).splitlines())]
    return shown
