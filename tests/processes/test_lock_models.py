"""Three processes do as Hypothesis tells them, and are killed and stopped; a model knows what each must answer."""

from __future__ import annotations

import os
import select
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from isolated import until
from workers import Worker

from samemap import Condition, Counter, Event, Lock, ReadWriteLock, RLock, Semaphore

PERMITS = 2
PLACES = 3
MAKE = (
    f"lock, rlock, permits, rw = Lock('lock'), RLock('rlock'), Semaphore('permits', {PERMITS}), ReadWriteLock('rw'); "
    "event, counter, news = Event('event'), Counter('counter'), Condition('news')"
)
NAMES = {
    "lock": Lock,
    "rlock": RLock,
    "permits": Semaphore,
    "rw": ReadWriteLock,
    "event": Event,
    "counter": Counter,
    "news": Condition,
}
place = st.integers(0, PLACES - 1)


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
    def __init__(self) -> None:
        super().__init__()
        self.ends = ExitStack()
        directory = self.ends.enter_context(tempfile.TemporaryDirectory(prefix="samemap-model-", dir="/dev/shm"))
        patch = self.ends.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SAMEMAP_DIR", directory)
        # Looks on, and keeps everything there when all workers are dead.
        self.seen: dict[str, Any] = {}
        self.ends.enter_context(Worker(MAKE))
        for name, kind in NAMES.items():
            self.seen[name] = kind.open(name, mode="r")
            self.ends.callback(self.seen[name].close)
        self.workers: dict[int, Worker] = {}
        self.waits: dict[int, Wait] = {}
        self.lock, self.rlock, self.news_lock = Mutex(False), Mutex(True), Mutex(True)
        self.permits: dict[int, int] = {}
        self.spare = 0
        self.readers: dict[int, int] = {}
        self.writer = Mutex(False)
        #: Who has the lock for writing, and waits for readers.
        self.flag = False
        self.count = 0
        #: Who waits for news, in order, and who has got some.
        self.listeners: list[int] = []
        self.told: set[int] = set()

    def teardown(self) -> None:
        for worker in self.workers.values():
            worker.end()
        self.ends.close()

    # Processes

    @initialize()
    def start_all(self) -> None:
        for number in range(PLACES):
            self.workers[number] = Worker(MAKE)

    def is_idle(self, who: int) -> bool:
        worker = self.workers[who]
        return not worker.stopped and not worker.busy

    def do(self, who: int, source: str) -> Any:
        return self.workers[who].do(source)

    @rule(who=place)
    def kill_and_replace(self, who: int) -> None:
        self.workers[who].killed()
        self.workers[who].end()
        for mutex in (self.lock, self.rlock, self.news_lock, self.writer):
            mutex.dies(who)
        self.permits.pop(who, None)
        self.readers.pop(who, None)
        self.waits.pop(who, None)
        if who in self.told:
            # Its news is for another one.
            self.told.discard(who)
            if waiting := [other for other in self.listeners if other not in self.told and other != who]:
                self.told.add(waiting[0])
        if who in self.listeners:
            self.listeners.remove(who)
        self.settle()
        self.workers[who] = Worker(MAKE)

    @rule(who=place)
    def stop_or_resume(self, who: int) -> None:
        worker = self.workers[who]
        if worker.stopped:
            worker.resume()
            self.settle()
        elif sum(not other.stopped for other in self.workers.values()) > 1:
            worker.stop()

    # Waits

    def wait(self, who: int, name: str, wait: Wait) -> None:
        self.waits[who] = wait
        self.workers[who].tell(wait.source)
        if not wait.may_end():
            until(lambda: self.workers[who].sleeps_for(self.seen[name]), f"sleeping in {wait.source}")
        self.settle()

    def settle(self) -> None:
        """Take all answers that must come now."""
        while ready := [
            who for who, wait in self.waits.items() if not self.workers[who].stopped and wait.may_end()
        ]:
            answers = {self.workers[who]._answers: who for who in ready}
            found, _, _ = select.select(list(answers), [], [], 20)
            assert found, f"none of {[self.waits[who].source for who in ready]} ends"
            who = answers[found[0]]
            wait = self.waits.pop(who)
            wait.ends(self.workers[who].answer())

    @invariant()
    def nobody_answers_too_early(self) -> None:
        for who in self.waits:
            assert not self.workers[who].answers(0), f"{self.waits[who].source}: {self.workers[who].answer()}"
