"""``samemap why``: who waits there, for what, who keeps them from it, and what helps."""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import click

from .. import _core
from .._core import Segment
from ..holders import FileId, locate
from ..names import resolve
from . import processes
from .channels import CHANNELS
from .display import counted_processes, echo_json, printable
from .entanglement import Web
from .failures import Failure
from .job_reasons import reasons_of_jobs
from .jobs import JOBS, look_at_jobs
from .locks import find_rows
from .observe import Hold, Sight, Waiter, is_here, observe
from .parameters import NAME, Trust, opening
from .reasons import MOST, Keeper, Reason, Scene, called, reasons_of_locks, some
from .sampling import member_of
from .segments import NoSegment, looked_at, problem_of
from .slots import Tables, read_tables
from .topic_reasons import TopicScene, awaited, reasons_of_topics
from .topic_report import Report

__all__ = ["Case", "cases", "why"]

EXAMPLES = """\b
Examples:
  samemap why jobs
  samemap why camera           a topic: who pins its slots, who publishes
  samemap why app:users        the object 'users' of the namespace 'app'
  samemap why jobs --json | jq -r '.kept_by[].pid'
"""

#: Columns of the labels.
_COLUMN = 8


class Case(NamedTuple):
    """An object, and why somebody waits for it.

    Attributes:
        name: As its user calls it.
        kind: Its class.
        state: What it is doing, in words.
        reasons: A reason for each thing that somebody waits for.
        problem: Why it cannot be looked at; else ``None``.
    """

    name: str
    kind: str | None
    state: str
    reasons: tuple[Reason, ...] = ()
    problem: str | None = None


@click.command(epilog=EXAMPLES)
@click.argument("name", type=NAME)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per thing that somebody waits for.")
@opening
@click.pass_context
def why(ctx: click.Context, name: str, as_json: bool, any_owner: bool, follow_symlinks: bool) -> None:
    """Say why somebody waits for NAME, who keeps them from going on, and what helps.

    NAME is a segment, such as a lock, a topic or a queue; or a namespace, or NAMESPACE:OBJECT.

    It tells what each sleeping process waits for; who has that, since when, and whether it is dead, or
    stopped (SIGSTOP, Ctrl-Z, a debugger), or itself waits, also for another segment of the runtime directory;
    whether those who wait for each other form a circle; of a topic, who pins its slots or has not read, who
    publishes, and since when nobody has; of a barrier, who is missing; of a queue or a service, who produces,
    who works, and who has which jobs in hands.

    Looking changes nothing: the segment is mapped read-only, and nobody joins. Of a process of another pid
    namespace it cannot be told whether it is stopped.

    What a process waits for in a topic is told by the kernel, where it may be asked (/proc/PID/syscall), and
    else concluded from what the process has done so far. While no slot is free, who waits for subscriptions
    cannot be told from who waits to publish. Who waits for a raw region is not noted anywhere.

    --json prints an object also when nobody waits, with "waiting": []. The exit status is 1 when something
    cannot be looked at.
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    found = cases(name, trust)
    web = _web(name, trust)
    now = time.time()
    if as_json:
        for case in found:
            _echo_json(case, web)
    else:
        _show(name, found, web, now)
    problems = [case.problem for case in found if case.problem is not None]
    for problem in problems:
        Failure(ctx.command_path, printable(problem)).show()
    if problems:
        ctx.exit(1)


def cases(name: str, trust: Trust | None = None) -> list[Case]:
    """Look at all objects of a segment, or at one.

    Args:
        name: The segment; or namespace and object, with a colon between them.
        trust: Which files may be opened.

    Raises:
        OSError: It is missing, or cannot be opened.
        SegmentMismatch: It is no segment, or none that this version understands.
        ValueError: The name makes no sense; or there is no such object.
    """
    space, object_name = _divided(name)
    path = resolve(space)
    try:
        with looked_at(path, trust) as segment:
            found = list(_cases_of(segment, space))
    except FileNotFoundError as error:
        # Not with the cures for regions.
        raise FileNotFoundError(error.errno, os.strerror(error.errno or 0), path) from None
    except NoSegment:
        raise NoSegment(f"{path}: it is a raw region, in which it is not noted who waits") from None
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: {problem_of(error)}") from error
    if object_name is None:
        return found
    chosen = [case for case in found if case.name == name]
    if not chosen:
        known = ", ".join(case.name.partition(f"{space}:")[2] for case in found) or "nothing"
        raise ValueError(f"{path}: there is no {object_name!r} in it; it has {known}")
    return chosen


def _divided(name: str) -> tuple[str, str | None]:
    # A file may have a colon in its name, too.
    space, colon, object_name = name.rpartition(":")
    if not colon or not space or os.path.lexists(resolve(name)) or not os.path.lexists(resolve(space)):
        return name, None
    return space, object_name


def _cases_of(segment: Segment, name: str) -> Iterator[Case]:
    members = tuple(member_of(found) for found in segment.participants())

    def scene_of(sight: Sight) -> Scene:
        return Scene(sight, members, time.time(), processes.hindrance)

    if segment.kind in JOBS:
        sight = Sight("", segment.kind, "", (), tuple(waiter for _, waiter in _asleep(segment)))
        work = look_at_jobs(segment)
        if work is None:
            yield Case(name, segment.kind, "unknown", (), f"{name}: this version cannot look into a {segment.kind}")
            return
        yield Case(name, segment.kind, f"{work.depth} waiting jobs", tuple(reasons_of_jobs(scene_of(sight), work)))
        return
    for sight in observe(segment):
        called_so = f"{name}:{sight.name}" if sight.name else name
        if sight.problem is not None:
            yield Case(called_so, sight.kind, sight.state, (), f"{called_so}: {sight.problem}")
        elif sight.kind in CHANNELS:
            topic = _topic(segment, sight, scene_of)
            yield Case(called_so, sight.kind, sight.state, tuple(reasons_of_topics(topic)))
        else:
            yield Case(called_so, sight.kind, sight.state, tuple(reasons_of_locks(scene_of(sight))))


def _asleep(segment: Segment) -> list[tuple[int, Waiter]]:
    """Return those who sleep in a segment, with their tags."""
    return [
        (found._tag, Waiter(found.pid, found.command, is_here(found), found.waiting))
        for found in segment.participants()
        if found.alive and found.waiting
    ]


def _topic(segment: Segment, sight: Sight, scene_of: Any) -> TopicScene:
    tables = read_tables(segment)
    # Without a codec: nothing is read but counts.
    topic = _core.Topic(segment.again(), None, True, "wait")
    try:
        newest = topic.seq
        published = {tag for tag, own, _, _ in topic._publishers() if own[0]}
        subscribed = {tag for tag, policy, *_ in topic._subscribers() if policy != "ended"}
    finally:
        topic.close()
    is_full = tables.is_full(newest)
    asleep = _asleep(segment)
    file = locate(segment.fileno())[0]
    awaits = tuple(
        awaited(_bells(waiter, file, segment.body), tag in subscribed, tag in published, is_full, segment.kind)
        for tag, waiter in asleep
    )
    scene = scene_of(sight._replace(waiters=tuple(waiter for _, waiter in asleep)))
    return TopicScene(scene, Report.of(segment.again()), awaits, is_full, tuple(_filling(segment, tables)))


def _bells(waiter: Waiter, file: FileId, start: int) -> frozenset[int] | None:
    words = processes.asleep_at(waiter.pid, file) if waiter.is_here else None
    return None if words is None else frozenset(word - start for word in words)


def _filling(segment: Segment, tables: Tables) -> Iterator[Hold]:
    for tag, (count, since) in tables.filled_by().items():
        found = segment.describe(tag)
        if found is None:
            who: tuple[int | None, str, int | None, bool, bool] = (None, "", None, False, True)
        else:
            who = (found.pid, found.command, found.user, found.alive, is_here(found))
        yield Hold(*who, since or None, count, None, "publisher", "next publisher takes it back")


def _web(name: str, trust: Trust) -> Web:
    """Look at who waits elsewhere; what cannot be looked at is left out."""
    rows = []
    with suppress(OSError):
        rows = find_rows((), trust)
    space, _ = _divided(name)
    if not any(row.path == resolve(space) for row in rows):
        rows += find_rows((space,), trust)
    return Web.of(rows)


def _entangled(case: Case, keeper: Keeper, web: Web) -> tuple[str, ...]:
    """Return what somebody who keeps others waiting waits for itself, elsewhere."""
    if keeper.pid is None or not keeper.alive or not keeper.is_here:
        return ()
    return tuple(where for where in web.waits.get(keeper.pid, ()) if where != case.name)


def _circle(case: Case, web: Web) -> str | None:
    circle = web.circle(case.name)
    if not circle:
        return None
    steps = ", ".join(f"pid {pid} waits for {where}" for pid, where in circle)
    return f"they wait for each other (a deadlock, unless another thread lets go): {steps}"


_UNTANGLE = "end one of them: the others are told (lock.recovered); take locks in the same order everywhere"


def _echo_json(case: Case, web: Web) -> None:
    head = {"name": case.name, "kind": case.kind, "state": case.state}
    if case.problem is not None:
        echo_json({**head, "problem": case.problem})
        return
    if not case.reasons:
        echo_json({**head, "awaits": None, "waiting": [], "kept_by": [], "because": None, "cure": None})
    for reason in case.reasons:
        record = reason.record()
        for told, keeper in zip(record["kept_by"], reason.keepers, strict=True):
            told["waits_for"] = list(_entangled(case, keeper, web))
        circle = [{"pid": pid, "waits_for": where} for pid, where in web.circle(case.name)]
        echo_json({**head, **record, "circle": circle})


def _show(name: str, found: list[Case], web: Web, now: float) -> None:
    told = [case for case in found if case.reasons]
    if not told and not any(case.problem is not None for case in found):
        states = "; ".join(f"{case.name} ({case.kind}) is {case.state}" for case in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        click.echo(printable(f"nobody waits: {states}{more}" if found else f"nobody waits: {name} is empty"))
    for case in told:
        for reason in case.reasons:
            _show_reason(case, reason, web, now)


def _show_reason(case: Case, reason: Reason, web: Web, now: float) -> None:
    head = f"{case.name} ({case.kind}): {counted_processes(len(reason.sleepers))} "
    click.echo(click.style(printable(head + f"wait{'s' * (len(reason.sleepers) == 1)} for {reason.awaits}"), bold=True))
    for sleeper in reason.sleepers:
        threads = f", {sleeper.sleepers} threads or tasks" if sleeper.sleepers > 1 else ""
        stopped = f", and is itself {sleeper.hindrance}" if sleeper.hindrance is not None else ""
        _show_line("waits", f"{called(sleeper)}{threads}{stopped}")
    for keeper, line in zip(reason.keepers, some(reason.keepers, now), strict=False):
        elsewhere = _entangled(case, keeper, web)
        colour = "red" if not keeper.alive or keeper.hindrance is not None else None
        _show_line("kept by", line + (f", and itself waits for {', '.join(elsewhere)}" if elsewhere else ""), colour)
    if len(reason.keepers) > MOST:
        _show_line("", f"and {len(reason.keepers) - MOST} more")
    _show_line("because", reason.because)
    circle = _circle(case, web)
    if circle is not None:
        _show_line("circle", circle, "red")
    _show_line("cure", reason.cure if circle is None else _UNTANGLE)


def _show_line(label: str, text: str, colour: str | None = None) -> None:
    width = max(shutil.get_terminal_size().columns, 40)
    indent = " " * (_COLUMN + 4)
    # Paths and commands stay whole, so that they can be copied.
    wrapped = textwrap.wrap(printable(text), width - len(indent), break_long_words=False, break_on_hyphens=False)
    click.echo(f"  {click.style(label.ljust(_COLUMN + 2), fg=colour)}" + f"\n{indent}".join(wrapped or [""]))
