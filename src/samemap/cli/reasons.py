"""Why somebody waits, in words: for locks and their family. Each function looks at what it is given only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from .display import age, iso_time
from .observe import Hold, Sight, Waiter
from .sampling import Member

__all__ = ["MOST", "Keeper", "Reason", "Scene", "Sleeper", "called", "cure_for", "others", "reasons_of_locks", "some"]

#: How many are told by name.
MOST = 5


class Sleeper(NamedTuple):
    """Somebody who waits.

    Attributes:
        pid: Its process, as that sees itself.
        command: Its command line, or the start of it.
        is_here: Whether its pid means the same process here.
        sleepers: How many of its threads and tasks wait.
        hindrance: Why it could not go on even if it were woken; ``None`` where nothing is known of that.
    """

    pid: int
    command: str
    is_here: bool
    sleepers: int
    hindrance: str | None = None


class Keeper(NamedTuple):
    """Somebody who keeps others from going on, or who could let them go on, and does not.

    Attributes:
        pid: Its process, as that sees itself; ``None`` when its place in the roster is another's by now.
        command: Its command line, or the start of it.
        alive: Whether it lives.
        is_here: Whether its pid means the same process here.
        doing: What it does, as in "holds it".
        since: Since when, in seconds since 1970; ``None`` where nobody notes that.
        hindrance: Why it does not run; ``None`` where it does, or nothing is known of that.
    """

    pid: int | None
    command: str
    alive: bool
    is_here: bool
    doing: str
    since: float | None = None
    hindrance: str | None = None

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**self._asdict(), "since": None if self.since is None else iso_time(self.since)}


class Reason(NamedTuple):
    """Why some wait.

    Attributes:
        awaits: What for, as in "the lock".
        sleepers: Who waits.
        keepers: Who keeps them from it.
        because: What is the case.
        cure: What helps.
    """

    awaits: str
    sleepers: tuple[Sleeper, ...]
    keepers: tuple[Keeper, ...]
    because: str
    cure: str

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "awaits": self.awaits,
            "waiting": [sleeper._asdict() for sleeper in self.sleepers],
            "kept_by": [keeper.record() for keeper in self.keepers],
            "because": self.because,
            "cure": self.cure,
        }


class Scene(NamedTuple):
    """What is looked at.

    Attributes:
        sight: The object.
        members: Those who take part in its segment.
        now: Seconds since 1970.
        hindrance: Tells why a process of this pid namespace does not run.
    """

    sight: Sight
    members: tuple[Member, ...]
    now: float
    hindrance: Callable[[int], str | None]

    def sleeper(self, waiter: Waiter) -> Sleeper:
        """Return somebody who waits."""
        return Sleeper(*waiter, self.hindrance(waiter.pid) if waiter.is_here else None)

    def keeper(self, hold: Hold, doing: str) -> Keeper:
        """Return somebody who holds something.

        Args:
            hold: Who does.
            doing: What it does.
        """
        return self.known(hold.pid, hold.command, hold.alive, hold.is_here, doing, hold.since)

    def known(
        self, pid: int | None, command: str, alive: bool, is_here: bool, doing: str, since: float | None = None
    ) -> Keeper:
        """Return somebody of whom that is known; the kernel tells whether it runs."""
        why = self.hindrance(pid) if pid is not None and alive and is_here else None
        return Keeper(pid, command, alive, is_here, doing, since, why)


def reasons_of_locks(scene: Scene) -> Iterator[Reason]:
    """Tell why some wait for a lock or another of its family.

    Args:
        scene: The object, and who is around.

    Yields:
        A reason for each thing that somebody waits for; none when nobody waits.
    """
    if scene.sight.waiters and (told := _REASONS.get(scene.sight.kind or "")) is not None:
        yield from told(scene)


def _lock(scene: Scene) -> Iterator[Reason]:
    yield _for_lock(scene, scene.sight.waiters)


def _for_lock(scene: Scene, waiters: Iterable[Waiter]) -> Reason:
    sleepers = tuple(map(scene.sleeper, waiters))
    keepers = tuple(scene.keeper(hold, "holds it") for hold in scene.sight.holds)
    if not keepers:
        return Reason("the lock", sleepers, (), "nobody holds it any more", _about_to(sleepers))
    own = [keeper for keeper in keepers if keeper.pid in {sleeper.pid for sleeper in sleepers}]
    if own and scene.sight.kind == "Lock":
        because = "its holder waits for it too: a Lock that one has cannot be taken once more, not even by oneself"
        cure = "an RLock can; else release it before, or have another thread release it"
        return Reason("the lock", sleepers, keepers, because, f"{cure}; {cure_for(keepers)}")
    return Reason("the lock", sleepers, keepers, "one at a time can hold it", cure_for(keepers))


def _condition(scene: Scene) -> Iterator[Reason]:
    left = int(scene.sight.numbers.get("waiting_for_notify", 0))
    notified: list[Waiter] = []
    queued: list[Waiter] = []
    # Those who wait to be notified come first.
    for waiter in scene.sight.waiters:
        (notified if left > 0 else queued).append(waiter)
        left -= waiter.sleepers
    if notified:
        sleepers = tuple(map(scene.sleeper, notified))
        yield Reason("notify()", sleepers, *_by_somebody_else(scene, sleepers, "has not notified", "notify it"))
    if queued:
        yield _for_lock(scene, queued)


def _event(scene: Scene) -> Iterator[Reason]:
    sleepers = tuple(map(scene.sleeper, scene.sight.waiters))
    if scene.sight.numbers.get("is_set"):
        yield Reason("the event", sleepers, (), "it is set by now", _about_to(sleepers))
        return
    yield Reason("set()", sleepers, *_by_somebody_else(scene, sleepers, "has not set it", "set it"))


def _counter(scene: Scene) -> Iterator[Reason]:
    sleepers = tuple(map(scene.sleeper, scene.sight.waiters))
    keepers, because, cure = _by_somebody_else(scene, sleepers, "has not changed it so", "change it")
    yield Reason("another value", sleepers, keepers, f"it is {scene.sight.state} now; {because}", cure)


def _semaphore(scene: Scene) -> Iterator[Reason]:
    sleepers = tuple(map(scene.sleeper, scene.sight.waiters))
    if scene.sight.numbers.get("value", 0) > 0:
        yield Reason("a permit", sleepers, (), f"there is one by now: {scene.sight.state}", _about_to(sleepers))
        return
    keepers = tuple(scene.keeper(hold, f"has {_counted(hold.amount, 'permit')}") for hold in scene.sight.holds)
    if keepers:
        held = sum(hold.amount for hold in scene.sight.holds)
        because = f"no permit is free, and {held} {'is' if held == 1 else 'are'} taken"
        yield Reason("a permit", sleepers, keepers, because, cure_for(keepers))
        return
    keepers, because, cure = _by_somebody_else(scene, sleepers, "has not released any", "release one")
    yield Reason("a permit", sleepers, keepers, f"no permit is free, and nobody has one; {because}", cure)


def _barrier(scene: Scene) -> Iterator[Reason]:
    sleepers = tuple(map(scene.sleeper, scene.sight.waiters))
    numbers = scene.sight.numbers
    if numbers.get("broken"):
        yield Reason("the others", sleepers, (), "it is broken", _about_to(sleepers))
        return
    missing = max(int(numbers.get("parties", 0)) - int(numbers.get("n_waiting", 0)), 0)
    keepers = others(scene, sleepers, "has not arrived")
    because = (
        f"{_counted(missing, 'party', 'parties')} of {numbers.get('parties')} {'is' if missing == 1 else 'are'} missing"
    )
    cure = cure_for(keepers, has=False)
    if len(keepers) < missing:
        living = "nobody else takes part" if not keepers else f"no more than {len(keepers)} of them take part"
        because += f", and {living}"
        cure = "start the others; abort() lets those go on who wait, with BrokenBarrierError"
    yield Reason("the others", sleepers, keepers, because, cure)


def _read_write_lock(scene: Scene) -> Iterator[Reason]:
    sleepers = tuple(map(scene.sleeper, scene.sight.waiters))
    doing = {
        "writer": "writes",
        "reader": "reads",
        "next writer": "waits for the readers to leave, and holds newcomers off",
    }
    asleep = {sleeper.pid for sleeper in sleepers}
    keepers = tuple(
        scene.keeper(hold, doing.get(hold.role, "holds it"))
        for hold in scene.sight.holds
        # The writer that comes next is one of those who wait.
        if not (hold.role == "next writer" and asleep == {hold.pid})
    )
    if not keepers:
        yield Reason("the lock", sleepers, (), "nobody reads or writes any more", _about_to(sleepers))
        return
    # It goes on by itself once they have left.
    others_than_it = [keeper for keeper in keepers if keeper.doing != doing["next writer"]]
    because = "a writer is alone, and comes before new readers"
    yield Reason("the lock", sleepers, keepers, because, cure_for(others_than_it or keepers))


def others(scene: Scene, sleepers: Iterable[Sleeper], doing: str) -> tuple[Keeper, ...]:
    """Return the living who take part and do not wait.

    Args:
        scene: Who is around.
        sleepers: Who waits.
        doing: What they do, or do not.
    """
    asleep = {sleeper.pid for sleeper in sleepers}
    return tuple(
        scene.known(member.pid, member.command, True, member.is_here, doing)
        for member in scene.members
        if member.alive and member.pid not in asleep
    )


def _by_somebody_else(
    scene: Scene, sleepers: tuple[Sleeper, ...], has_not: str, do_it: str
) -> tuple[tuple[Keeper, ...], str, str]:
    keepers = others(scene, sleepers, has_not)
    if not keepers:
        return (), f"nobody else takes part who could {do_it}", f"start the program that is to {do_it}"
    return keepers, f"one of those who take part has to {do_it}", cure_for(keepers, has=False)


def cure_for(keepers: Iterable[Keeper], *, has: bool = True) -> str:
    """Return what helps against those who keep others waiting.

    Args:
        keepers: They.
        has: Whether they have what the others wait for, and would lose it by their death.
    """
    known = list(keepers)
    cures = []
    stopped = [keeper for keeper in known if keeper.hindrance is not None and "stopped" in keeper.hindrance]
    if stopped:
        pids = " ".join(str(keeper.pid) for keeper in stopped[:MOST])
        cures.append(f"kill -CONT {pids} lets what is stopped go on")
    if has and any(not keeper.alive for keeper in known):
        cures.append(
            "none is needed for what the dead have: who waits takes it within 100 ms, unless it is stopped itself"
        )
    running = [keeper for keeper in known if keeper.alive and keeper.is_here and keeper not in stopped]
    if running:
        cures.append(f"see what it does: py-spy dump --pid {running[0].pid}, or its log")
    if has and len(known) == 1 and known[0].alive and known[0].is_here:
        # What is stopped heeds no other signal.
        kill = "kill -9" if stopped else "kill"
        cures.append(f"{kill} {known[0].pid} ends it, and frees what it has")
    return "; ".join(cures) or "see what they do, where they run"


def called(who: Sleeper | Keeper) -> str:
    """Return what people call a process."""
    if who.pid is None:
        return "a process that is gone"
    where = "" if who.is_here else " of another pid namespace"
    return f"pid {who.pid}{where} ({who.command or 'unknown'})"


def some(keepers: tuple[Keeper, ...], now: float) -> list[str]:
    """Return a line for each of those who keep others waiting; of many, for the first.

    Args:
        keepers: They.
        now: Seconds since 1970.
    """
    lines = []
    for keeper in keepers[:MOST]:
        since = "" if keeper.since is None else f" since {age(now - keeper.since)}"
        line = f"{called(keeper)}, which {keeper.doing}{since}"
        if keeper.pid is not None and not keeper.alive:
            line += ", and died"
        elif keeper.hindrance is not None:
            line += f", and is {keeper.hindrance}"
        lines.append(line)
    return lines


def _about_to(sleepers: tuple[Sleeper, ...]) -> str:
    stopped = [sleeper for sleeper in sleepers if sleeper.hindrance is not None]
    if stopped:
        return f"pid {stopped[0].pid} is {stopped[0].hindrance}; kill -CONT {stopped[0].pid} lets it go on"
    return "none is needed: it is about to go on; look again"


def _counted(count: int, one: str, more: str | None = None) -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"


_REASONS: dict[str, Callable[[Scene], Iterator[Reason]]] = {
    "Lock": _lock,
    "RLock": _lock,
    "Semaphore": _semaphore,
    "Event": _event,
    "Condition": _condition,
    "Barrier": _barrier,
    "Counter": _counter,
    "ReadWriteLock": _read_write_lock,
}
