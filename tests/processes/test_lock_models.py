"""Three processes do as Hypothesis tells them, and are killed and stopped; a model knows what each must answer."""

from __future__ import annotations

import functools
import os
import select
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from isolated import until
from workers import Worker

from samemap import Condition, Counter, Event, Lock, ReadWriteLock, RLock, Semaphore

PERMITS = 2
PLACES = 3
place = st.integers(0, PLACES - 1)


def told(**more: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a rule for a process that can be told what to do, if there is one."""

    def wrap(function: Callable[..., None]) -> Any:
        @rule(who=place, **more)
        @functools.wraps(function)
        def run(self: Processes, who: int, **given: Any) -> None:
            idle = [number for number, worker in self.workers.items() if not worker.stopped and not worker.busy]
            if idle:
                function(self, idle[who % len(idle)], **given)

        return run

    return wrap


class Mutex:
    """What a lock must do."""

    def __init__(self, reentrant: bool) -> None:
        self.reentrant = reentrant
        self.holder: int | None = None
        self.depth = 0
        #: Whether the holder has died.
        self.left = False

    def is_free_for(self, who: int) -> bool:
        return self.holder is None or self.left or (self.reentrant and self.holder == who)

    def take(self, who: int) -> bool:
        """Take it, and return whether it was recovered."""
        recovered = self.left
        self.depth = self.depth + 1 if self.holder == who and not self.left else 1
        self.holder, self.left = who, False
        return recovered

    def give(self) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.holder = None

    def dies(self, who: int) -> None:
        if self.holder == who:
            self.left = True


class Wait:
    """What a process waits for."""

    def __init__(self, source: str, may_end: Callable[[], bool], ends: Callable[[Any], None]) -> None:
        self.source = source
        #: Whether it must end, as things stand.
        self.may_end = may_end
        #: Checks the answer, and tells the model.
        self.ends = ends


class Processes(RuleBasedStateMachine):
    """Processes that are killed, stopped, and continued; subclasses have what they do in between."""

    #: What each of them has, by name; how it makes that, and what else it needs.
    KINDS: ClassVar[dict[str, type[Any]]]
    MAKE: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.ends = ExitStack()
        directory = self.ends.enter_context(tempfile.TemporaryDirectory(prefix="samemap-model-", dir="/dev/shm"))
        self.ends.enter_context(pytest.MonkeyPatch.context()).setenv("SAMEMAP_DIR", directory)
        # One that makes everything and then does nothing, and one that looks on.
        self.ends.enter_context(Worker(self.MAKE))
        self.seen: dict[str, Any] = {}
        for name, kind in self.KINDS.items():
            self.seen[name] = self.ends.enter_context(closing(kind.open(name, mode="r")))
        self.workers: dict[int, Worker] = {}
        self.waits: dict[int, Wait] = {}

    def teardown(self) -> None:
        for worker in self.workers.values():
            worker.end()
        self.ends.close()

    @initialize()
    def start_all(self) -> None:
        for number in range(PLACES):
            self.workers[number] = Worker(self.MAKE)

    def do(self, who: int, source: str) -> Any:
        return self.workers[who].do(source)

    def waiting_for(self, part: str) -> list[int]:
        """Return who waits in a call."""
        return [who for who, wait in self.waits.items() if part in wait.source]

    def forget(self, who: int) -> None:
        """Tell the model that a process has died."""
        raise NotImplementedError

    def can_foresee(self, who: int) -> bool:
        """Tell whether the model knows what comes of a process's death."""
        return True

    def wake(self) -> None:
        """Tell the model that a process goes on."""

    @rule(who=place)
    def kill_and_replace(self, who: int) -> None:
        if self.can_foresee(who):
            self.workers[who].killed()
            self.workers[who].end()
            self.waits.pop(who, None)
            self.forget(who)
            self.settle()
            self.workers[who] = Worker(self.MAKE)

    @rule(who=place)
    def stop_or_resume(self, who: int) -> None:
        worker = self.workers[who]
        if worker.stopped:
            worker.resume()
            self.wake()
            self.settle()
        elif sum(not other.stopped for other in self.workers.values()) > 1:
            worker.stop()

    def wait(self, who: int, name: str, wait: Wait) -> None:
        self.waits[who] = wait
        self.workers[who].tell(wait.source)
        if not wait.may_end():
            until(lambda: self.workers[who].sleeps_for(self.seen[name]), f"sleeping in {wait.source}", 10)
        self.settle()

    def settle(self) -> None:
        """Take all answers that must come now."""
        while ready := [who for who, wait in self.waits.items() if not self.workers[who].stopped and wait.may_end()]:
            answers = {self.workers[who]._answers: who for who in ready}
            found, _, _ = select.select(list(answers), [], [], 10)
            assert found, f"none of {[self.waits[who].source for who in ready]} ends"
            who = answers[found[0]]
            wait = self.waits.pop(who)
            wait.ends(self.workers[who].answer())

    @invariant()
    def nobody_answers_too_early(self) -> None:
        for who in self.waits:
            assert not self.workers[who].answers(0), f"{self.waits[who].source}: {self.workers[who].answer()}"


class Mutexes(Processes):
    """Lock and RLock."""

    KINDS: ClassVar[dict[str, type[Any]]] = {"lock": Lock, "rlock": RLock}
    MAKE = "lock, rlock = Lock('lock'), RLock('rlock')"

    def __init__(self) -> None:
        super().__init__()
        self.mutexes = {"lock": Mutex(False), "rlock": Mutex(True)}

    def forget(self, who: int) -> None:
        for mutex in self.mutexes.values():
            mutex.dies(who)

    @told(name=st.sampled_from(["lock", "rlock"]), waits=st.booleans())
    def acquire(self, who: int, name: str, waits: bool) -> None:
        mutex = self.mutexes[name]
        if waits and name == "lock" and mutex.holder == who and not mutex.left:
            return

        def ends(answer: Any) -> None:
            acquired, recovered = answer
            assert acquired
            again = mutex.holder == who and not mutex.left
            told = mutex.take(who)
            assert again or recovered is told

        if waits:
            self.wait(
                who, name, Wait(f"{name}.acquire(timeout=30), {name}.recovered", lambda: mutex.is_free_for(who), ends)
            )
        else:
            answer = self.do(who, f"{name}.acquire(blocking=False), {name}.recovered")
            assert answer[0] is mutex.is_free_for(who)
            if answer[0]:
                ends(answer)

    @told(name=st.sampled_from(["lock", "rlock"]))
    def release(self, who: int, name: str) -> None:
        mutex = self.mutexes[name]
        if mutex.holder == who and not mutex.left:
            self.do(who, f"{name}.release()")
            mutex.give()
            self.settle()
        else:
            with pytest.raises(RuntimeError):
                self.do(who, f"{name}.release()")


class Permits(Processes):
    """Semaphore."""

    KINDS: ClassVar[dict[str, type[Any]]] = {"permits": Semaphore}
    MAKE = f"permits = Semaphore('permits', {PERMITS})"

    def __init__(self) -> None:
        super().__init__()
        self.permits: dict[int, int] = {}
        self.all_permits = PERMITS

    def forget(self, who: int) -> None:
        self.permits.pop(who, None)

    def free_permits(self) -> int:
        return self.all_permits - sum(self.permits.values())

    @told(waits=st.booleans())
    def take_permit(self, who: int, waits: bool) -> None:

        def ends(answer: Any) -> None:
            assert answer is True
            assert self.free_permits() > 0
            self.permits[who] = self.permits.get(who, 0) + 1

        if waits:
            self.wait(who, "permits", Wait("permits.acquire(timeout=30)", lambda: self.free_permits() > 0, ends))
        else:
            answer = self.do(who, "permits.acquire(blocking=False)")
            assert answer is (self.free_permits() > 0)
            if answer:
                ends(answer)

    @told()
    def give_permit(self, who: int) -> None:
        if not self.permits.get(who) and self.all_permits == PERMITS + 2:
            return
        self.do(who, "permits.release()")
        if self.permits.get(who):
            self.permits[who] -= 1
        else:
            # It gives more than it has, as to a semaphore that has no bound it may.
            self.all_permits += 1
        self.settle()


class ReadersAndWriters(Processes):
    """ReadWriteLock."""

    KINDS: ClassVar[dict[str, type[Any]]] = {"rw": ReadWriteLock}
    MAKE = "rw = ReadWriteLock('rw')"

    def __init__(self) -> None:
        super().__init__()
        self.readers: dict[int, int] = {}
        #: Who writes, and who has turned readers away and waits for the last to leave.
        self.writer: int | None = None
        self.draining: int | None = None
        #: Whether a writer died inside, and none has come since.
        self.owed = False

    def forget(self, who: int) -> None:
        self.readers.pop(who, None)
        if self.writer == who:
            self.writer, self.owed = None, True
        if self.draining == who:
            self.draining = None

    def wake(self) -> None:
        self.drain()

    def may_read(self) -> bool:
        return self.writer is None and self.draining is None

    def may_write(self, who: int) -> bool:
        return self.writer is None and self.draining in (None, who) and not any(self.readers.values())

    def drain(self) -> None:
        """Let the writer that waits, if it can run, turn readers away."""
        for who in self.waiting_for("acquire_write"):
            if (
                self.writer is None
                and self.draining is None
                and not self.workers[who].stopped
                and not self.may_write(who)
            ):
                until(self.seen["rw"]._is_draining, "turning readers away", 10)
                self.draining = who

    @told(waits=st.booleans())
    def read(self, who: int, waits: bool) -> None:
        if waits and (self.writer == who or self.readers.get(who)):
            return
        if waits and self.writer is not None and self.waiting_for("acquire_write"):
            # Both would want it when the writer leaves, and nobody knows who is first.
            return

        def ends(answer: Any) -> None:
            assert answer == (True, self.owed)
            self.readers[who] = self.readers.get(who, 0) + 1

        if waits:
            self.wait(who, "rw", Wait("rw.acquire_read(timeout=30), rw.recovered", self.may_read, ends))
        else:
            answer = self.do(who, "rw.acquire_read(blocking=False), rw.recovered")
            assert answer[0] is self.may_read()
            if answer[0]:
                ends(answer)

    @told(waits=st.booleans())
    def write(self, who: int, waits: bool) -> None:
        if waits and (self.writer == who or self.readers.get(who)):
            return
        if waits and (self.waiting_for("acquire_write") or self.waiting_for("acquire_read")):
            return

        def ends(answer: Any) -> None:
            assert answer == (True, self.owed)
            assert not any(self.readers.values())
            self.writer, self.draining, self.owed = who, None, False

        if waits:
            self.waits[who] = Wait("rw.acquire_write(timeout=30), rw.recovered", lambda: self.may_write(who), ends)
            self.workers[who].tell(self.waits[who].source)
            self.drain()
            self.settle()
        else:
            answer = self.do(who, "rw.acquire_write(blocking=False), rw.recovered")
            assert answer[0] is self.may_write(who)
            if answer[0]:
                ends(answer)

    @told()
    def end_reading(self, who: int) -> None:
        if self.readers.get(who):
            self.do(who, "rw.release_read()")
            self.readers[who] -= 1
            self.settle()
        else:
            with pytest.raises(RuntimeError):
                self.do(who, "rw.release_read()")

    @told()
    def end_writing(self, who: int) -> None:
        if self.writer == who:
            self.do(who, "rw.release_write()")
            self.writer = None
            self.settle()
        else:
            with pytest.raises(RuntimeError):
                self.do(who, "rw.release_write()")


class FlagsAndCounters(Processes):
    """Event and Counter."""

    KINDS: ClassVar[dict[str, type[Any]]] = {"event": Event, "counter": Counter}
    MAKE = "event, counter = Event('event'), Counter('counter')"

    def __init__(self) -> None:
        super().__init__()
        self.flag = False
        self.count = 0

    def forget(self, who: int) -> None:
        pass

    @told()
    def set_flag(self, who: int) -> None:
        self.do(who, "event.set()")
        self.flag = True
        self.settle()

    @told()
    def clear_flag(self, who: int) -> None:
        # One that is stopped may or may not see that it was set.
        if not self.waiting_for("event"):
            self.do(who, "event.clear()")
            self.flag = False

    @told()
    def wait_for_flag(self, who: int) -> None:
        self.wait(who, "event", Wait("event.wait(30)", lambda: self.flag, self.is_true))

    @staticmethod
    def is_true(answer: Any) -> None:
        assert answer is True

    @told(n=st.integers(1, 3))
    def add(self, who: int, n: int) -> None:
        self.count += n
        assert self.do(who, f"counter.add({n})") == self.count
        self.settle()

    @told(expected=st.integers(-1, 1))
    def exchange(self, who: int, expected: int) -> None:
        assert self.do(who, f"counter.compare_exchange({self.count + expected}, {self.count + 1})") == self.count
        self.count += expected == 0
        self.settle()

    @told(ahead=st.integers(0, 3))
    def wait_for_count(self, who: int, ahead: int) -> None:
        least = self.count + ahead

        def ends(answer: Any) -> None:
            assert least <= answer <= self.count

        self.wait(who, "counter", Wait(f"counter.wait_until({least}, timeout=30)", lambda: self.count >= least, ends))


class News(Processes):
    """Condition."""

    KINDS: ClassVar[dict[str, type[Any]]] = {"news": Condition}
    MAKE = (
        "news = Condition('news')\n"
        "def listen():\n    with news: return news.wait(30)\n"
        "def tell(n):\n    with news: news.notify(n)"
    )

    def __init__(self) -> None:
        super().__init__()
        self.news_lock = Mutex(True)
        #: Who waits for news, in order, and who of them has got some.
        self.listeners: list[int] = []
        self.told: set[int] = set()

    def forget(self, who: int) -> None:
        self.news_lock.dies(who)
        if who in self.listeners:
            self.listeners.remove(who)
        if who in self.told:
            # Its news is for another one.
            self.told.remove(who)
            self.told.update(self.untold())

    def can_foresee(self, who: int) -> bool:
        # Which of several gets its news, nobody knows.
        return who not in self.told or (len(self.untold()) == 1 and not self.workers[self.untold()[0]].stopped)

    def untold(self) -> list[int]:
        return [who for who in self.listeners if who not in self.told]

    def pass_through(self, who: int) -> None:
        """Take the lock of the condition and give it back, as `with` does."""
        self.news_lock.take(who)
        self.news_lock.give()

    @told()
    def hold_news(self, who: int) -> None:
        free = self.news_lock.is_free_for(who)
        assert self.do(who, "news.acquire(blocking=False)") is free
        if free:
            self.news_lock.take(who)

    @told()
    def let_go_of_news(self, who: int) -> None:
        if self.news_lock.holder == who and not self.news_lock.left:
            self.do(who, "news.release()")
            self.news_lock.give()
            self.settle()

    @told()
    def listen(self, who: int) -> None:
        if not self.news_lock.is_free_for(who):
            return
        held = self.news_lock.holder == who and not self.news_lock.left

        def ends(answer: Any) -> None:
            assert answer is True
            self.told.remove(who)
            self.listeners.remove(who)
            self.pass_through(who)

        def may_end() -> bool:
            return who in self.told and self.news_lock.is_free_for(who)

        if held:
            # It would give back the lock as often as it has it, and want it as often.
            return
        self.pass_through(who)
        self.listeners.append(who)
        self.waits[who] = Wait("listen()", may_end, ends)
        self.workers[who].tell("listen()")
        until(lambda: self.seen["news"].stats().waiting == len(self.untold()), "listening", 10)
        self.settle()

    @told(n=st.integers(1, 2))
    def tell(self, who: int, n: int) -> None:
        if not self.news_lock.is_free_for(who):
            return
        self.do(who, f"tell({n})")
        if self.news_lock.holder != who or self.news_lock.left:
            self.pass_through(who)
        self.told.update(self.untold()[:n])
        self.settle()


@pytest.mark.parametrize("machine", [Mutexes, Permits, ReadersAndWriters, FlagsAndCounters, News])
def test_processes_do_what_the_model_says(machine: type[Processes]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=50,
            deadline=None,
            derandomize="CI" in os.environ,
            database=None,
            # Not to be made smaller: each try may wait for what does not come.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
