"""What the objects of a segment are doing, seen from outside: who holds them, since when, and who waits."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

from .. import _core
from ..aio import FIRST_TASK
from .display import iso_time
from .segments import problem_of, trouble
from .slots import read_tables

__all__ = ["UNREAD", "Hold", "Sight", "Waiter", "is_here", "observe", "pid_namespace"]


#: What happens to a lock whose holder died.
_NEXT_ACQUIRER = "next acquirer recovers"


#: What a subscription is that publishers wait for.
UNREAD = "unread"


class Hold(NamedTuple):
    """Somebody who holds an object, or a part of it.

    Attributes:
        pid: Its process, as that sees itself; ``None`` when its place in the roster is another's by now.
        command: Its command line, or the start of it.
        user: The number of its user.
        alive: Whether it lives.
        is_here: Whether its pid means the same process here; in another pid namespace it does not.
        since: When it took the object, in seconds since 1970; ``None`` where nobody notes that.
        amount: How many permits, read locks or slots it holds, or messages it has not read.
        thread: Its thread, where that matters.
        role: What it is to the object: ``"holder"``, ``"writer"``, ``"next writer"``, ``"reader"``, ``"subscriber"``
            or `UNREAD`.
        on_death: Who deals with its death, if it is dead.
    """

    pid: int | None
    command: str
    user: int | None
    alive: bool
    is_here: bool
    since: float | None
    amount: int
    thread: int | None
    role: str
    on_death: str

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        known = self._asdict()
        del known["on_death"]
        return {**known, "since": None if self.since is None else iso_time(self.since)}


class Waiter(NamedTuple):
    """A process that waits for an object.

    Attributes:
        pid: Its number, as it sees itself.
        command: Its command line, or the start of it.
        is_here: Whether its pid means the same process here.
        sleepers: How many of its threads and tasks wait.
    """

    pid: int
    command: str
    is_here: bool
    sleepers: int


class Sight(NamedTuple):
    """One object, at one moment.

    Attributes:
        name: Its name in its namespace; empty where it has the segment for itself.
        kind: Its class.
        state: What it is doing, in words.
        holds: Who holds it.
        waiters: Who waits for it.
        recovered: How often it was taken over from the dead; ``None`` where nobody counts that.
        numbers: What `state` says, for programs.
        problem: Why it could not be looked at; else ``None``.
    """

    name: str
    kind: str | None
    state: str
    holds: tuple[Hold, ...] = ()
    waiters: tuple[Waiter, ...] = ()
    recovered: int | None = None
    numbers: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    problem: str | None = None

    @property
    def since(self) -> float | None:
        """When it was taken by who holds it, in seconds since 1970."""
        return self.holds[0].since if len(self.holds) == 1 else None

    @property
    def dead(self) -> tuple[Hold, ...]:
        """Those who died with it."""
        return tuple(hold for hold in self.holds if not hold.alive)

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        if self.problem is not None:
            return {"kind": self.kind, "state": self.state, "problem": self.problem}
        return {
            "kind": self.kind,
            "state": self.state,
            **self.numbers,
            "holders": [hold.record() for hold in self.holds],
            "waiting": [waiter._asdict() for waiter in self.waiters],
            "recovered": self.recovered,
        }


class _Place(NamedTuple):
    """Where an object lies, and who is around."""

    segment: _core.Segment
    offset: int
    #: Those who wait somewhere in the object's bytes.
    nearby: tuple[_core.Participant, ...]
    #: The inode of this process's pid namespace.
    here: int

    def hold(
        self,
        tag: int,
        on_death: str,
        since: float | None = None,
        amount: int = 1,
        thread: int | None = None,
        role: str = "holder",
    ) -> Hold:
        found = self.segment.describe(tag)
        # Others write it: a time that cannot be is none.
        when = since if since is not None and 0 < since <= time.time() + 1 else None
        if found is None:
            return Hold(None, "", None, False, True, when, amount, None, role, on_death)
        here = is_here(found, self.here)
        # Above the kernel's number of a thread stands one of its process; tasks have greater ones.
        low = thread & 0xFFFF_FFFF if thread else 0
        number = low if 0 < low < FIRST_TASK else None
        who = (found.pid, found.command, found.user, found.alive, here)
        return Hold(*who, when, amount, number, role, on_death)

    def holder(self, held: tuple[int, float, int] | None, role: str = "holder") -> tuple[Hold, ...]:
        if held is None:
            return ()
        tag, since, thread = held
        return (self.hold(tag, _NEXT_ACQUIRER, since, thread=thread, role=role),)

    def waiters(self, tags: Iterable[int] | None = None) -> tuple[Waiter, ...]:
        if tags is None:
            return tuple(self._waiter(found, found.waiting) for found in self.nearby)
        counts = Counter(tags)
        known = ((self.segment.describe(tag), count) for tag, count in counts.items())
        return tuple(self._waiter(found, count) for found, count in known if found is not None and found.alive)

    def _waiter(self, found: _core.Participant, count: int) -> Waiter:
        return Waiter(found.pid, found.command, is_here(found, self.here), count)


def pid_namespace() -> int:
    """Return the inode of this process's pid namespace; 0 where ``/proc`` does not tell."""
    try:
        # Not pathlib: this is a link that leads nowhere.
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    except OSError:
        return 0


def is_here(participant: _core.Participant, here: int | None = None) -> bool:
    """Tell whether a participant's pid means the same process here.

    Args:
        participant: It.
        here: The inode of this process's pid namespace, where that is known already.
    """
    own = pid_namespace() if here is None else here
    return 0 in (own, participant._pid_namespace) or participant._pid_namespace == own


def observe(segment: _core.Segment) -> Iterator[Sight]:
    """Look at all objects of a segment; nothing is changed, and nobody joins.

    Args:
        segment: One that is open, read-only or not.

    Yields:
        Each object; those that cannot be looked at say why.

    Raises:
        ValueError: Its directory is damaged.
        OSError: The file is cut.
    """
    objects = segment.objects()
    starts = sorted(offset for _, _, offset in objects)
    asleep = [found for found in segment.participants() if found.waiting and found.alive]
    here = pid_namespace()
    for name, kind, offset in objects:
        look = _LOOKS.get(kind)
        if look is None:
            continue  # a namespace without objects, or what is of no interest here
        after = next((start for start in starts if start > offset), segment.size)
        nearby = tuple(found for found in asleep if offset <= found._waiting_on - segment.body < after)
        try:
            sight = look(_Place(segment, offset, nearby, here))
        except (OSError, ValueError, IndexError) as error:
            yield Sight(name, kind, trouble(error), problem=problem_of(error))
        else:
            yield sight._replace(name=name, kind=kind)


def _look_at_lock(kind: type[_core.Lock] | type[_core.RLock], place: _Place) -> Sight:
    with closing(kind(place.segment, place.offset, False)) as lock:
        held = place.holder(lock._holder())
        recovered, _ = lock.counts()
    return Sight("", None, "held" if held else "free", held, place.waiters(), recovered)


def _look_at_semaphore(place: _Place) -> Sight:
    with closing(_core.Semaphore(place.segment, place.offset)) as semaphore:
        value, initial, bound = semaphore.value, semaphore.initial, semaphore.bound
        held = tuple(place.hold(tag, "next acquirer gets it", amount=amount) for tag, amount in semaphore._holders())
    state = f"{value} free" if bound is None else f"{value} of {bound} free"
    numbers = {"value": value, "initial": initial, "bound": bound}
    return Sight("", None, state, held, place.waiters(), None, numbers)


def _look_at_event(place: _Place) -> Sight:
    with closing(_core.Event(place.segment, place.offset)) as event:
        is_set = event.is_set()
    return Sight("", None, "set" if is_set else "clear", (), place.waiters(), None, {"is_set": is_set})


def _look_at_condition(place: _Place) -> Sight:
    with closing(_core.Condition(place.segment, place.offset)) as condition:
        notified = place.waiters(condition._waiters())
        lock = condition._lock_offset
    with closing(_core.RLock(place.segment, lock, False)) as own:
        held = place.holder(own._holder())
        recovered, _ = own.counts()
    known = {waiter.pid for waiter in notified}
    queued = tuple(waiter for waiter in place.waiters() if waiter.pid not in known)
    numbers = {"waiting_for_notify": sum(waiter.sleepers for waiter in notified)}
    return Sight("", None, "held" if held else "free", held, notified + queued, recovered, numbers)


def _look_at_barrier(place: _Place) -> Sight:
    with closing(_core.Barrier(place.segment, place.offset)) as barrier:
        parties, waiting, broken = barrier.parties, barrier.n_waiting, barrier.broken
    state = "broken" if broken else f"{waiting} of {parties} waiting"
    numbers = {"parties": parties, "n_waiting": waiting, "broken": broken}
    return Sight("", None, state, (), place.waiters(), None, numbers)


def _look_at_counter(place: _Place) -> Sight:
    with closing(_core.Counter(place.segment, place.offset)) as counter:
        value = counter.value
    return Sight("", None, str(value), (), place.waiters(), None, {"value": value})


def _look_at_read_write_lock(place: _Place) -> Sight:
    with closing(_core.ReadWriteLock(place.segment, place.offset, False)) as lock:
        readers = tuple(
            place.hold(tag, "next writer passes it", amount=amount, role="reader") for tag, amount in lock._readers()
        )
        # One that waits for readers to leave holds newcomers off already.
        is_draining = lock._is_draining()
        writer = place.holder(lock._writer(), role="next writer" if is_draining else "writer")
        recovered, _ = lock.counts()
    reading = sum(hold.amount for hold in readers)
    is_writing = bool(writer) and not is_draining
    state = "writing" if is_writing else f"{reading} reading" if readers else "free"
    numbers = {"readers": reading, "is_writing": is_writing}
    return Sight("", None, state, writer + readers, place.waiters(), recovered, numbers)


def _look_at_topic(place: _Place) -> Sight:
    # Without a codec: nothing is read but counts.
    with closing(_core.Topic(place.segment, None, True, "wait")) as topic:
        newest, slots = topic.seq, topic.slots
        loaned, pinned = topic._counts()
        rows = topic._subscribers()
    since = read_tables(place.segment, place.offset).pinned_since() if pinned else {}
    held = tuple(
        place.hold(tag, "next publisher takes them back", since.get((tag, joined)), amount=pins, role="subscriber")
        for tag, _, _, _, _, pins, joined, _ in rows
        if pins
    )
    # Publishers wait for it now: all that there is room for is unread.
    unread = tuple(
        place.hold(tag, "next publisher goes on", amount=newest + 1 - cursor, role=UNREAD)
        for tag, policy, cursor, *_ in rows
        if policy == "block" and newest + 1 - cursor >= slots
    )
    numbers = {"messages": newest, "slots": slots, "pinned": pinned, "loaned": loaned}
    return Sight("", None, f"{pinned} of {slots} pinned", held + unread, place.waiters(), None, numbers)


def _look_at_latest(place: _Place) -> Sight:
    # The newest value is kept as a topic keeps its messages.
    with closing(_core.Latest(place.segment, None, True)) as latest:
        seq = latest.seq
    return Sight("", None, f"number {seq}" if seq else "never set", (), place.waiters(), None, {"seq": seq})


_LOOKS: dict[str, Callable[[_Place], Sight]] = {
    "Lock": lambda place: _look_at_lock(_core.Lock, place),
    "RLock": lambda place: _look_at_lock(_core.RLock, place),
    "Semaphore": _look_at_semaphore,
    "Event": _look_at_event,
    "Condition": _look_at_condition,
    "Barrier": _look_at_barrier,
    "Counter": _look_at_counter,
    "ReadWriteLock": _look_at_read_write_lock,
    "Topic": _look_at_topic,
    "Latest": _look_at_latest,
}
