"""Three processes publish, receive, pin and die as Hypothesis tells them; a model knows what each must answer."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from test_lock_models import Processes, Wait, place

from samemap import Full, Topic

SLOTS, RING, SIZE = 4, 8, 5000


#: What may happen next, some more often than others.
ACTIONS = [
    *["publish"] * 10,
    *["receive"] * 12,
    *["release"] * 6,
    *["subscribe"] * 4,
    *["end_loan"] * 2,
    *["publish_and_wait"] * 2,
    *["unsubscribe", "leave_and_come_back", "kill", "kill", "stop or resume", "stop or resume"],
]


class Reader:
    """What a subscription must do."""

    def __init__(self, policy: str, cursor: int) -> None:
        self.policy = policy
        self.cursor = cursor
        self.received = self.missed = 0
        self.closed = False

    def take(self, number: int) -> int:
        """Get a message, and return how many were missed before it."""
        missed = number - self.cursor
        self.cursor = number + 1
        self.received += 1
        self.missed += missed
        return missed


class Broadcast(Processes):
    """Topic."""

    KINDS: ClassVar[dict[str, type[Any]]] = {"feed": Topic}
    MAKE = (
        f"feed = Topic('feed', slots={SLOTS}, max_message={SIZE}); subs, kept, loans = {{}}, {{}}, []\n"
        f"def message(n): return n.to_bytes(8, 'little') * ({SIZE} // 8)\n"
        "def got(sub, sample):\n"
        "    if sample is None: return None\n"
        "    kept[sub, sample.seq] = sample\n"
        "    return sample.seq, sample.missed, bytes(sample) == message(sample.seq)\n"
        "def lend():\n    loan = feed.loan(timeout=0)\n    loans.append((loan, loan.__enter__()))\n"
        "def end(publish, n):\n"
        "    loan, place = loans.pop(0)\n"
        f"    place[:] = message(n)\n"
        "    loan.__exit__(None if publish else KeyError, None, None)\n"
        "    return loan.seq"
    )

    def __init__(self) -> None:
        super().__init__()
        self.newest = 0
        #: Messages that are there, as was seen last.
        self.there: set[int] = set()
        #: Those of them that somebody living keeps: who, by which subscription.
        self.pins: dict[int, set[tuple[int, int]]] = {}
        self.loans: dict[int, int] = {}
        self.readers: dict[tuple[int, int], Reader] = {}
        self.names = 0
        #: Whether what some had who are dead may still be taken.
        self.dead = False

    # What must be

    def needed(self) -> int:
        """Return the first message that must stay because somebody has to read it."""
        cursors = [r.cursor for r in self.readers.values() if r.policy == "block" and not r.closed]
        return min(cursors, default=self.newest + 1)

    def may_go(self, number: int) -> bool:
        return number < min(self.needed(), self.newest) and not self.pins.get(number)

    def has_room(self) -> bool:
        # One that is pinned may be so old that the ring has forgotten it; it has a slot all the same.
        stay = {number for number in self.there | set(self.pins) if not self.may_go(number)}
        return len(stay) + sum(self.loans.values()) < SLOTS

    def next_of(self, reader: Reader) -> int | None:
        ahead = {number for number in self.there if number >= reader.cursor}
        if not ahead:
            return None
        return max(ahead) if reader.policy == "latest" else min(ahead)

    def look(self, published: int | None) -> None:
        """See what is there after a slot was taken, and that no message is gone that has to stay."""
        before, was_newest = self.there, self.newest
        self.there = {sample.seq for sample in self.seen["feed"].last()}
        # Judged by what was so before the message came.
        gone = {number for number in before - self.there if number > max(was_newest, published or 0) - RING}
        assert all(self.may_go(number) for number in gone), (gone, self.pins, self.needed())
        assert len(gone) <= 1
        if published is not None:
            assert published == was_newest + 1
            self.newest = published
        assert self.there <= before | {self.newest}
        assert self.newest in self.there or self.newest == 0
        self.settle()

    def keep(self, who: int, name: int, number: int) -> None:
        self.pins.setdefault(number, set()).add((who, name))

    def let_go(self, who: int, name: int | None = None, number: int | None = None) -> None:
        for pinned, holders in list(self.pins.items()):
            if number in (None, pinned):
                holders -= {holder for holder in holders if holder[0] == who and name in (None, holder[1])}
            if not holders:
                del self.pins[pinned]

    def forget(self, who: int) -> None:
        self.dead = True
        self.let_go(who)
        self.loans.pop(who, None)
        for key in [key for key in self.readers if key[0] == who]:
            del self.readers[key]

    def is_waited_for(self) -> bool:
        return any("publish" in wait.source for wait in self.waits.values())

    # What they do

    # One rule for all: of several, Hypothesis takes some far more often than others.
    @rule(who=place, what=st.sampled_from(ACTIONS), which=st.integers(0, 7))
    def act(self, who: int, what: str, which: int) -> None:
        if what == "kill":
            Processes.kill_and_replace(self, who)
        elif what == "stop or resume":
            Processes.stop_or_resume(self, who)
        else:
            idle = [number for number, worker in self.workers.items() if not worker.stopped and not worker.busy]
            able = [number for number in idle if self.can(number, what)] or idle
            if able:
                getattr(self, what)(able[who % len(able)], which)

    def can(self, who: int, what: str) -> bool:
        """Tell whether a process has what it takes."""
        match what:
            case "receive" | "unsubscribe":
                return self.a_reader_of(who, 0) is not None
            case "release":
                return any(holder == who for holders in self.pins.values() for holder, _ in holders)
            case "end_loan":
                return bool(self.loans.get(who))
        return True

    def kill_and_replace(self, who: int) -> None:
        """Be no rule."""

    def stop_or_resume(self, who: int) -> None:
        """Be no rule."""

    def publish(self, who: int, which: int) -> None:
        how = ("publish_nowait", "publish", "loan")[which % 3]
        if self.is_waited_for():
            # Both would want the next slot, and nobody knows who is first.
            return
        if not self.has_room():
            source = "lend()" if how == "loan" else f"feed.publish_nowait(message({self.newest + 1}))"
            with pytest.raises(Full):
                self.do(who, source)
            self.dead = False
            return
        if how == "loan":
            self.do(who, "lend()")
            self.loans[who] = self.loans.get(who, 0) + 1
            self.look(None)
        else:
            number = self.do(who, f"feed.{how}(message({self.newest + 1}))")
            self.look(number)

    def publish_and_wait(self, who: int, _: int) -> None:
        if self.has_room() or self.is_waited_for():
            return

        def ends(answer: Any) -> None:
            self.look(answer)

        # All messages are alike, but for their numbers: it cannot know which it gets.
        self.wait(who, "feed", Wait(f"feed.publish(message({self.newest + 1}), 30)", self.has_room, ends))

    def end_loan(self, who: int, which: int) -> None:
        publish = which > 1
        if not self.loans.get(who) or (publish and self.is_waited_for()):
            return
        number = self.do(who, f"end({publish}, {self.newest + 1})")
        self.loans[who] -= 1
        if publish:
            self.look(number)
        else:
            assert number == 0
            self.settle()

    def subscribe(self, who: int, which: int) -> None:
        policy, history = ("latest", "drop", "block", "block")[which % 4], self.newest % 6
        if sum(key[0] == who and not r.closed for key, r in self.readers.items()) == 2:
            return
        self.names += 1
        self.do(who, f"subs[{self.names}] = feed.subscribe({policy!r}, history={history})")
        first = max(self.newest - min(history, RING), 0) + 1
        if policy == "block":
            cursor = self.newest + 1
            while cursor - 1 in self.there and cursor > first:
                cursor -= 1
        else:
            cursor = min((number for number in self.there if number >= first), default=self.newest + 1)
        self.readers[who, self.names] = Reader(policy, cursor)

    def a_reader_of(self, who: int, which: int) -> tuple[int, Reader] | None:
        mine = [(name, r) for (owner, name), r in self.readers.items() if owner == who and not r.closed]
        return mine[which % len(mine)] if mine else None

    def receive(self, who: int, which: int) -> None:
        if (found := self.a_reader_of(who, which)) is None:
            return
        waits = which > 4
        name, reader = found

        def ends(answer: Any) -> None:
            number = self.next_of(reader)
            assert number is not None
            assert answer == (number, reader.take(number), True)
            assert reader.policy != "block" or reader.missed == 0
            self.keep(who, name, number)

        number = self.next_of(reader)
        if waits:
            source = f"got({name}, subs[{name}].recv(30))"
            self.wait(who, "feed", Wait(source, lambda: self.next_of(reader) is not None, ends))
        else:
            answer = self.do(who, f"got({name}, subs[{name}].poll())")
            if number is None:
                assert answer is None
            else:
                ends(answer)
        self.settle()

    def release(self, who: int, which: int) -> None:
        mine = sorted((name, number) for number, holders in self.pins.items() for w, name in holders if w == who)
        if mine:
            name, number = mine[which % len(mine)]
            self.do(who, f"kept.pop(({name}, {number})).release()")
            self.let_go(who, name, number)
            self.settle()

    def unsubscribe(self, who: int, which: int) -> None:
        if (found := self.a_reader_of(who, which)) is not None:
            name, reader = found
            self.do(who, f"subs.pop({name}).close()")
            reader.closed = True
            self.settle()

    def leave_and_come_back(self, who: int, _: int) -> None:
        self.do(who, "feed.close(); [s.close() for s in subs.values()]; subs.clear(); kept.clear(); loans.clear()")
        self.do(who, "feed = Topic('feed')")
        dead = self.dead
        self.forget(who)
        self.dead = dead
        self.settle()

    # What must be so all the time

    @invariant()
    def counts_are_right(self) -> None:
        if not self.workers or self.is_waited_for():
            return
        feed = self.seen["feed"]
        stats = feed.stats()
        assert stats.messages == self.newest
        pinned, loaned = len(self.pins), sum(self.loans.values())
        if self.dead:
            assert stats.pinned >= pinned
            assert stats.loaned >= loaned
        else:
            assert (stats.pinned, stats.loaned) == (pinned, loaned)
        pids = {worker.pid: who for who, worker in self.workers.items()}
        found = sorted(
            (pids[s.pid], s.policy, s.received, s.missed, s.lag)
            for s in feed.subscribers()
            if s.alive and s.policy != "ended"
        )
        assert stats.subscribers == len(found)
        assert found == sorted(
            (who, r.policy, r.received, r.missed, self.newest + 1 - r.cursor)
            for (who, _), r in self.readers.items()
            if not r.closed
        )


def test_processes_do_what_the_model_says() -> None:
    run_state_machine_as_test(
        Broadcast,
        settings=settings(
            max_examples=60,
            stateful_step_count=60,
            deadline=None,
            derandomize="CI" in os.environ,
            database=None,
            # Not to be made smaller: each try may wait for what does not come.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
