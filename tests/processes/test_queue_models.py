"""Three processes put, get, lease, keep views and die as Hypothesis tells them; a model knows what each must answer."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from test_lock_models import Processes, Wait, place
from workers import Worker

from samemap import Queue

MAXSIZE, ATTEMPTS = 5, 3
#: A large message takes two blocks, and there is room for seven of them.
LARGE, RUNS = 8192, 7
#: Places for jobs that are being worked on, beside those that wait.
SPARE = 128

#: What may happen next, some more often than others.
ACTIONS = [
    *["put"] * 10,
    *["put_many"] * 3,
    *["get"] * 6,
    *["get_many"] * 2,
    *["lease"] * 10,
    *["done"] * 5,
    *["give_back"] * 5,
    *["drop_views"] * 6,
    *["task_done"] * 6,
    *["join", "extend", "put_away", "expire", "put_and_wait", "put_and_wait"],
    *["settle_dead_letter"] * 3,
    *["look", "leave_and_come_back", "kill", "kill", "kill", *["stop or resume"] * 3],
    "shut down",
]

#: What the processes have. Functions, so that nothing but `leases` and `kept` holds on to a job.
TOLD = f"""
import numpy as np
jobs = Queue('jobs', maxsize={MAXSIZE}, max_bytes={LARGE * RUNS}, max_attempts={ATTEMPTS}, codec='pickle')
leases, kept = {{}}, []

def message(n):
    # Small; copied because it is bytes; and seen where it is.
    return ((n, 'small'), n.to_bytes(8, 'little') * 700, {{'number': n, 'array': np.full(700, n)}})[n % 3]

def number(value):
    kind = type(value)
    n = value['number'] if kind is dict else value[0] if kind is tuple else int.from_bytes(value[:8], 'little')
    same = (value['array'] == n).all() and value['array'].size == 700 if kind is dict else value == message(n)
    assert same, f'job {{n}} has changed: {{value}}'
    return n

def see(value, keep):
    if keep:
        kept.append(value)
    return number(value)

def told(what, *given):
    try:
        return what(*given)
    except (Empty, Full, ShutDown) as error:
        return type(error).__name__

def get(timeout, keep):
    return see(jobs.get(timeout=timeout), keep)

def get_many(most, keep):
    return [see(value, keep) for value in jobs.get_many(most, 0)]

def lease(timeout, lease_time, keep):
    job = jobs.lease(timeout, lease_time)
    n = see(job.value, keep)
    leases[n] = job
    return n, job.seq, job.attempt

def end(n, how):
    job = leases.pop(n)
    if how != 'drop':
        getattr(job, how)()

def expire(n, how):
    job = leases.pop(n)
    job.extend(1e-9)
    # Its clock ticks every few milliseconds, and whoever is not satisfied looks for what is over.
    while job.state != 'lost':
        jobs.join(0.001)
    try:
        if how != 'drop':
            getattr(job, how)()
            raise AssertionError(job)
    except LeaseLost:
        pass

def drop(n):
    kept[:] = [value for value in kept if number(value) != n]

def letters():
    return [(number(letter.value), letter.attempt) for letter in jobs.dead_letters()]
"""


class Job:
    """What is known of one."""

    def __init__(self, number: int, seq: int) -> None:
        self.number, self.seq = number, seq
        self.is_large = number % 3 > 0
        self.state = "ready"
        self.attempt = 0
        #: Who has leased it; that one is dead when it is in limbo, and somebody must find that out.
        self.worker: int | None = None
        self.limbo = False
        #: Whether it is given back when the worker's views are gone.
        self.later = False
        #: Who has views of it, and who of them has none of it but these.
        self.views: set[int] = set()
        self.keeper: int | None = None


class Work(Processes):
    """Queue."""

    KINDS: ClassVar[dict[str, type[Any]]] = {"jobs": Queue}
    MAKE = TOLD

    def __init__(self) -> None:
        super().__init__()
        #: Those that take up a place, in order.
        self.jobs: dict[int, Job] = {}
        self.numbers = self.puts = self.taken = self.gets = self.returned = self.done_with = 0
        #: Jobs that somebody has got and not said to be done.
        self.open: dict[int, int] = {}
        self.shut = ""
        #: Whether a dead one may still keep what it had; and whether one had got jobs that it had not said to be done.
        self.dead = self.owed = False

    # What must be

    def those(self, state: str) -> list[Job]:
        found = [job for job in self.jobs.values() if job.state == state]
        return sorted(found, key=lambda job: job.seq)

    def limbo(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.limbo]

    def of(self, who: int) -> list[Job]:
        """Return what a process has leased, and may end."""
        return [job for job in self.those("leased") if job.worker == who and not job.limbo and not job.later]

    def has_room(self, number: int) -> bool:
        waiting = self.puts - self.taken
        large = sum(job.is_large for job in self.jobs.values())
        return waiting < MAXSIZE and (number % 3 == 0 or large < RUNS)

    def can_take(self) -> bool:
        return any(job.attempt < ATTEMPTS for job in (*self.those("ready"), *self.limbo()))

    def unfinished(self) -> int:
        # What comes back for the last time is a dead letter when somebody looks.
        coming = [job for job in self.jobs.values() if job.state == "leased" and not (job.limbo and self.is_spent(job))]
        return len(self.those("ready")) + len(coming) + sum(self.open.values())

    def is_spent(self, job: Job) -> bool:
        return job.attempt >= ATTEMPTS

    # What becomes of it

    def add(self, number: int) -> None:
        self.puts += 1
        self.jobs[number] = Job(number, self.puts)

    def take(self, who: int, number: int, keep: bool) -> Job:
        """Give a job to a process, and see that it is the oldest there is."""
        job = self.jobs[number]
        if job.limbo:
            self.comes_back(job)
        assert job.state == "ready"
        assert job is self.those("ready")[0], (number, [other.number for other in self.those("ready")])
        self.taken = max(self.taken, job.seq)
        self.gets += 1
        job.state, job.worker, job.attempt = "leased", who, job.attempt + 1
        if keep and number % 3 == 2:
            job.views.add(who)
        return job

    def finish(self, job: Job) -> None:
        job.state = "held"
        self.done_with += 1
        self.free(job)

    def free(self, job: Job) -> None:
        """Free its place, unless there are views."""
        if job.state == "held" and not job.views:
            del self.jobs[job.number]

    def comes_back(self, job: Job) -> None:
        self.returned += 1
        job.state = "dead" if self.is_spent(job) else "ready"
        job.worker, job.limbo, job.later = None, False, False

    def give_back_of(self, job: Job, who: int) -> None:
        if who in job.views and job.keeper not in (None, who):
            job.later = True
            return
        job.keeper = who if who in job.views else None if job.keeper == who else job.keeper
        self.comes_back(job)

    def let_go(self, job: Job, who: int) -> None:
        """See the last view of a process go."""
        job.views.discard(who)
        if job.later and job.worker == who:
            self.comes_back(job)
        elif job.keeper == who and job.worker != who:
            job.keeper = None
        self.free(job)

    def bury(self) -> None:
        """See all that the dead had come back."""
        for job in self.limbo():
            self.comes_back(job)
        self.dead = False

    def forget(self, who: int) -> None:
        self.dead = True
        self.open.pop(who, None)
        for job in list(self.jobs.values()):
            job.views.discard(who)
            if job.keeper == who:
                job.keeper = None
            if job.worker == who and job.state == "leased":
                job.limbo = True
            self.free(job)

    # What they do

    # One rule for all: of several, Hypothesis takes some far more often than others.
    @rule(who=place, what=st.sampled_from(ACTIONS), which=st.integers(0, 11))
    def act(self, who: int, what: str, which: int) -> None:
        if what == "kill":
            if self.open.get(who) and self.waiting_for("join"):
                return
            self.owed |= self.open.get(who, 0) > 0
            Processes.kill_and_replace(self, who)
            if which % 2:
                self.sweep()
        elif what == "stop or resume":
            Processes.stop_or_resume(self, who)
        elif what == "shut down":
            # Rarely, as it is for good.
            if which == 0:
                self.shut_down(self.numbers % 2 == 0)
        else:
            able = [number for number in self.idle() if self.can(number, what)] or self.idle()
            if able:
                getattr(self, what)(able[who % len(able)], which)
        self.settle()

    def idle(self) -> list[int]:
        return [number for number, worker in self.workers.items() if not worker.stopped and not worker.busy]

    def can(self, who: int, what: str) -> bool:
        """Tell whether a process has what it takes."""
        match what:
            case "done" | "give_back" | "extend" | "put_away" | "expire":
                return bool(self.of(who))
            case "drop_views":
                return any(who in job.views for job in self.jobs.values())
            case "task_done":
                return self.open.get(who, 0) > 0
        return True

    def kill_and_replace(self, who: int) -> None:
        """Be no rule."""

    def stop_or_resume(self, who: int) -> None:
        """Be no rule."""

    def sweep(self) -> None:
        """Have somebody look after the dead."""
        if idle := self.idle():
            answer = self.do(idle[0], "jobs.join(0)")
            self.bury()
            assert answer is (self.unfinished() == 0) or self.owed

    def new(self) -> int:
        self.numbers += 1
        return self.numbers

    def put(self, who: int, which: int) -> None:
        if self.waiting_for("put"):
            # Both would want the next place, and nobody knows who is first.
            return
        number = self.new()
        how = ("jobs.put_nowait", "jobs.put")[which % 2 and self.has_room(number)]
        answer = self.do(who, f"told({how}, message({number}))")
        assert answer == ("ShutDown" if self.shut else None if self.has_room(number) else "Full")
        if answer is None:
            self.add(number)
        elif answer == "Full":
            # Who finds no room looks after the dead.
            self.bury()

    def put_many(self, who: int, which: int) -> None:
        if any(self.waiting_for(part) for part in ("put", "get", "lease")):
            # Who waits for a job may take one, or not, before the last is put.
            return
        numbers = [self.new() for _ in range(which)]
        kind = ("list", "tuple")[which % 2]
        answer = self.do(who, f"told(jobs.put_many, {kind}(message(n) for n in {numbers}), 0)")
        if self.shut and numbers:
            assert answer == "ShutDown"
            return
        put = 0
        for number in numbers:
            if not self.has_room(number):
                self.bury()
                break
            self.add(number)
            put += 1
        assert answer == (put if put or not numbers else "Full")

    def put_and_wait(self, who: int, _: int) -> None:
        number = self.numbers + 1
        if self.has_room(number) or self.shut or self.waiting_for("put") or self.waiting_for("join"):
            return
        self.new()

        def ends(answer: Any) -> None:
            if self.shut:
                assert answer == "ShutDown"
            else:
                assert answer is None
                assert self.has_room(number)
                self.add(number)

        source = f"told(jobs.put, message({number}), True, 30)"
        self.wait(who, "jobs", Wait(source, lambda: bool(self.shut) or self.has_room(number), ends))

    def may_take(self) -> bool:
        return bool(self.shut) or self.can_take()

    def got_none(self, answer: Any) -> bool:
        if isinstance(answer, str):
            assert answer == ("ShutDown" if self.shut else "Empty")
            assert not self.those("ready") or self.shut == "at once"
            return True
        return False

    def get(self, who: int, which: int) -> None:
        keep, waits = which % 3 > 0, which > 8

        def ends(answer: Any) -> None:
            if not self.got_none(answer):
                self.finish(self.take(who, answer, keep))
                self.open[who] = self.open.get(who, 0) + 1

        if waits:
            self.wait(who, "jobs", Wait(f"told(get, 30, {keep})", self.may_take, ends))
        else:
            ends(self.do(who, f"told(get, 0, {keep})"))

    def get_many(self, who: int, which: int) -> None:
        most, keep = which // 3 + 1, which % 3 > 0
        answer = self.do(who, f"told(get_many, {most}, {keep})")
        if not self.got_none(answer):
            for number in answer:
                self.finish(self.take(who, number, keep))
            self.open[who] = self.open.get(who, 0) + len(answer)
            assert len(answer) == most or not self.those("ready")

    def lease(self, who: int, which: int) -> None:
        keep, waits = which % 3 > 0, which > 7

        def ends(answer: Any) -> None:
            if not self.got_none(answer):
                job = self.take(who, answer[0], keep)
                assert answer == (job.number, job.seq, job.attempt)

        lease_time = (None, 1000)[which % 2]
        if waits:
            self.wait(who, "jobs", Wait(f"told(lease, 30, {lease_time}, {keep})", self.may_take, ends))
        else:
            ends(self.do(who, f"told(lease, 0, {lease_time}, {keep})"))

    def end_one(self, who: int, which: int, how: str) -> Job | None:
        if not (mine := self.of(who)):
            return None
        job = mine[which % len(mine)]
        self.do(who, f"end({job.number}, {how!r})")
        return job

    def done(self, who: int, which: int) -> None:
        if job := self.end_one(who, which, "done"):
            self.finish(job)

    def give_back(self, who: int, which: int) -> None:
        if job := self.end_one(who, which, ("give_back", "drop")[which % 2]):
            self.give_back_of(job, who)

    def put_away(self, who: int, which: int) -> None:
        if any(job.keeper not in (None, who) for job in self.of(who)):
            return
        if job := self.end_one(who, which, "bury"):
            job.state, job.worker = "dead", None
            job.keeper = who if who in job.views else None

    def extend(self, who: int, which: int) -> None:
        if mine := self.of(who):
            job = mine[which % len(mine)]
            left = self.do(who, f"leases[{job.number}].extend(2000) or leases[{job.number}].expires")
            assert 1900 < left <= 2000

    def expire(self, who: int, which: int) -> None:
        mine = [job for job in self.of(who) if job.keeper in (None, who)]
        if mine:
            job = mine[which % len(mine)]
            self.do(who, f"expire({job.number}, {('done', 'give_back', 'drop')[which % 3]!r})")
            self.bury()
            self.give_back_of(job, who)

    def drop_views(self, who: int, which: int) -> None:
        if mine := [job for job in self.jobs.values() if who in job.views]:
            job = mine[which % len(mine)]
            self.do(who, f"drop({job.number})")
            self.let_go(job, who)

    def task_done(self, who: int, _: int) -> None:
        if self.open.get(who):
            self.do(who, "jobs.task_done()")
            self.open[who] -= 1

    def join(self, who: int, which: int) -> None:
        if which % 2 or self.waiting_for("put") or self.owed:
            self.sweep()
            return

        def ends(answer: Any) -> None:
            self.bury()
            assert answer is True
            assert self.unfinished() == 0

        self.wait(who, "jobs", Wait("jobs.join(30)", lambda: self.unfinished() == 0, ends))

    def settle_dead_letter(self, who: int, which: int) -> None:
        self.sweep()
        dead = self.those("dead")
        assert self.do(who, "letters()") == [(job.number, job.attempt) for job in dead]
        if dead:
            at = which % len(dead)
            job, how = dead[at], "discard" if which % 3 == 0 or self.shut == "at once" else "replay"
            letter = f"jobs.dead_letters()[{at}]"
            assert self.do(who, f"(letter := {letter}).{how}(), letter.{how}()") == (True, False)
            if how == "replay":
                job.state, job.attempt = "ready", 0
            else:
                job.state = "held"
                self.free(job)

    def look(self, who: int, _: int) -> None:
        empty, full, size, _ = self.do(who, "jobs.empty(), jobs.full(), jobs.qsize(), [number(v) for v in kept]")
        if not self.limbo():
            assert (empty, size) == (not self.those("ready"), len(self.those("ready")))
        assert full is (self.puts - self.taken >= MAXSIZE)

    def shut_down(self, at_once: bool) -> None:
        if not (idle := self.idle()) or self.shut:
            return
        self.sweep()
        at_once = at_once and not self.those("leased")
        self.do(idle[-1], f"jobs.shutdown({at_once})")
        self.shut = "at once" if at_once else "orderly"
        if at_once:
            self.taken = self.puts
            for job in self.those("ready"):
                job.state = "held"
                self.free(job)

    def leave_and_come_back(self, who: int, which: int) -> None:
        if self.waits or which > 5:
            return
        has_views = any(who in job.views for job in self.jobs.values())
        open_again = "jobs.close(); jobs = Queue('jobs')"
        if which < 2:
            # All is given back before.
            self.do(who, f"leases.clear(); kept.clear(); {open_again}")
            for job in self.of(who):
                self.give_back_of(job, who)
            for job in list(self.jobs.values()):
                if who in job.views:
                    self.let_go(job, who)
            self.open.pop(who, None)
        elif which < 4 or not has_views:
            # After: that is found out as with the dead.
            self.do(who, "jobs.close(); leases.clear(); kept.clear(); jobs = Queue('jobs')")
            self.forget(who)
        else:
            # Views outlive it.
            self.do(who, "jobs.close(); leases.clear(); jobs = Queue('jobs')")
            for job in self.of(who):
                self.give_back_of(job, who)

    # What must be so all the time

    @invariant()
    def counts_are_right(self) -> None:
        if not self.workers:
            return
        stats = self.seen["jobs"].stats()
        leased = len(self.those("leased"))
        # Those of the dead are orphaned until somebody looks after them, and then they have come back.
        in_hands = stats.leased + stats.orphaned
        if self.limbo() and in_hands == leased - len(self.limbo()):
            for job in self.limbo():
                self.comes_back(job)
        assert (stats.puts, stats.gets, stats.done) == (self.puts, self.gets, self.done_with)
        if self.limbo():
            assert leased - len(self.limbo()) <= in_hands <= leased
            return
        assert (stats.depth, stats.dead) == (len(self.those("ready")), len(self.those("dead")))
        assert (in_hands, stats.returned) == (len(self.those("leased")), self.returned)
        held = len(self.those("held"))
        free = LARGE * (RUNS - sum(job.is_large for job in self.jobs.values()))
        if self.dead:
            assert stats.held >= held
            assert stats.free_bytes <= free
        else:
            assert (stats.held, stats.free_bytes) == (held, free)

    def teardown(self) -> None:
        try:
            # Not when something is wrong already.
            if sys.exc_info()[0] is None and self.workers:
                self.all_comes_back()
        finally:
            super().teardown()

    def all_comes_back(self) -> None:
        """When all have died, their jobs are there, each once and in order, and all the room."""
        for who in self.waits:
            # Or it would take what the first of the dead had.
            if not self.workers[who].stopped:
                self.workers[who].stop()
        for who, worker in self.workers.items():
            self.owed |= self.open.get(who, 0) > 0
            worker.killed()
            self.forget(who)
        with Worker(TOLD) as last:
            last.do("jobs.join(0)")
            self.bury()
            assert last.do("letters()") == [(job.number, job.attempt) for job in self.those("dead")]
            assert last.do("[letter.discard() for letter in jobs.dead_letters()]") == [True] * len(self.those("dead"))
            left = [(job.number, job.seq, job.attempt + 1) for job in self.those("ready")]
            assert last.do(f"[told(lease, 0, None, True) for _ in range({len(left)})]") == left
            assert last.do("told(lease, 0, None, False)") == ("ShutDown" if self.shut else "Empty")
            last.do("[job.done() for job in leases.values()]; leases.clear(); kept.clear()")
            assert last.do("jobs.join(0)") or self.owed
        stats = self.seen["jobs"].stats()
        assert (stats.depth, stats.leased, stats.held, stats.dead) == (0, 0, 0, 0)
        assert (stats.free_bytes, stats.max_bytes) == (LARGE * RUNS, LARGE * RUNS)
        free = self.seen["jobs"]._totals()[9]
        assert free == MAXSIZE + SPARE


def test_processes_do_what_the_model_says() -> None:
    # A large message is what it is taken for.
    assert 4096 < np.full(700, 1).nbytes < LARGE - 1000
    run_state_machine_as_test(
        Work,
        settings=settings(
            max_examples=25,
            stateful_step_count=60,
            deadline=None,
            derandomize="CI" in os.environ,
            database=None,
            # Not to be made smaller: each try may wait for what does not come.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
