"""Who takes part: joining, leaving, dying, forking, stopping; in other pid namespaces, and as other users."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from isolated import NOBODY, run, succeed, until
from workers import Worker, workers

from samemap import AcquireTimeout, Event, Lock, Namespace, OwnerDied, RLock, Semaphore

MAKE = "thing = Lock('thing')"
NEW_INTERPRETER: tuple[str, ...] = ()

BECOME_NOBODY = f"import os; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


class TestComingAndGoing:
    def test_those_who_open_it_are_listed_until_they_close_it(self) -> None:
        with Worker(line=NEW_INTERPRETER) as worker, closing(Lock("thing")) as thing:
            before = time.time()
            worker.do(MAKE)
            me, other = thing.participants()
            assert (me.pid, other.pid) == (os.getpid(), worker.pid)
            assert me.alive
            assert other.alive
            assert (other.role, other.waiting, other.user, other.died) == ("idle", 0, os.geteuid(), None)
            assert before - 1 < other.joined < time.time() + 1
            assert other.command.startswith(sys.executable[:40])
            worker.do("thing.close()")
            assert [someone.pid for someone in thing.participants()] == [os.getpid()]

    def test_roles(self) -> None:
        with workers(3, MAKE) as (holder, waiter, _), closing(Lock.open("thing", mode="r")) as seen:
            holder.do("thing.acquire()")
            waiter.wait_in("thing.acquire()", seen)
            assert [(someone.role, someone.waiting) for someone in seen.participants()] == [
                ("holder", 0),
                ("waiter", 1),
                ("idle", 0),
            ]

    def test_the_same_one_twice_in_a_process_is_one_participant(self) -> None:
        with closing(Lock("thing")) as one, closing(Lock.open("thing")) as other:
            assert len(one.participants()) == 1
            assert one.acquire()
            # The process holds it, whichever handle it was.
            assert other.acquire(blocking=False) is False
            other.release()
            one.close()
            assert [someone.pid for someone in other.participants()] == [os.getpid()]
            assert other.acquire(blocking=False)

    @pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "raise KeyError('x')", "raise KeyboardInterrupt"])
    def test_normal_end_leaves(self, end: str) -> None:
        with closing(Lock("thing")) as thing:
            done = run(f"import sys\nfrom samemap import Lock\nthing = Lock('thing')\nthing.acquire()\n{end}")
            assert (done.returncode == 0) == (end in ("pass", "sys.exit(0)"))
            assert [someone.pid for someone in thing.participants()] == [os.getpid()]
            # What it held is not given back: it may be half done.
            assert (thing.acquire(blocking=False), thing.recovered) == (True, True)

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_children_of_multiprocessing_leave(self, method: str) -> None:
        # It ends them past atexit.
        succeed(
            """
            import multiprocessing, os, sys
            from samemap import Event, Lock
            import children

            if __name__ == "__main__":
                with Event() as joined, Event() as leave:
                    thing = Lock("thing")
                    context = multiprocessing.get_context(sys.argv[1])
                    process = context.Process(target=children.join_and_stay, args=(thing, joined, leave))
                    process.start()
                    assert joined.wait(60)
                    assert {someone.pid for someone in thing.participants()} == {os.getpid(), process.pid}
                    leave.set()
                    process.join(60)
                    assert process.exitcode == 0
                    assert [someone.pid for someone in thing.participants()] == [os.getpid()]
            """,
            method,
            cwd=Path(__file__).parent,
        )

    @pytest.mark.parametrize(
        "end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.abort()", "os.execv('/bin/true', ['true'])"]
    )
    def test_sudden_end_shows_and_its_place_is_taken(self, end: str) -> None:
        with closing(Lock("thing", max_participants=2)) as thing:
            source = f"import os\nfrom samemap import Lock\nthing = Lock('thing')\nthing.acquire()\n{end}"
            with subprocess.Popen([sys.executable, "-c", source]) as process:
                process.wait(30)
            me, dead = thing.participants()
            assert (me.alive, dead.alive, dead.pid, dead.role) == (True, False, process.pid, "holder")
            holder = thing.holder()
            assert holder is not None
            assert (holder.pid, holder.alive) == (process.pid, False)
            assert f"held by the dead pid {process.pid}" in repr(thing)
            with Worker(MAKE) as worker:
                assert [someone.pid for someone in thing.participants()] == [os.getpid(), worker.pid]
                holder = thing.holder()
                assert holder is not None
                assert (holder.pid, holder.alive) == (process.pid, False)
            assert (thing.acquire(blocking=False), thing.recovered) == (True, True)

    def test_an_end_with_many_open_leaves_all(self) -> None:
        with Namespace("space") as space, closing(Lock("lock")) as lock, Event("event") as event:
            with Worker() as worker:
                worker.do("space, lock, event = Namespace('space'), Lock('lock'), Event('event')")
                worker.do("entry = space.lock('entry')")
                worker.do("space.close()")
                # Its lock is open.
                assert len(space.participants()) == 2
                worker.leave()
            for thing in (space, lock, event):
                assert [someone.pid for someone in thing.participants()] == [os.getpid()]


class TestFullRosters:
    def test_is_refused_with_the_cure_and_a_dead_place_is_taken(self, runtime_directory: Path) -> None:
        with closing(Lock("thing", max_participants=2)), Worker(MAKE) as second, Worker() as third:
            third.do("import os; before = len(os.listdir('/proc/self/fd'))")
            for _ in range(3):
                with pytest.raises(OSError, match="max_participants=4") as caught:
                    third.do(MAKE)
                assert caught.value.errno == errno.EUSERS
                assert caught.value.filename == str(runtime_directory / "thing")
            assert third.do("len(os.listdir('/proc/self/fd')) - before") == 0
            # Looking on is for everyone.
            assert third.do("len(Lock.open('thing', mode='r').participants())") == 2
            second.killed()
            assert third.do(MAKE) is None
            assert third.do("thing.acquire(timeout=5), thing.recovered") == (True, False)

    def test_tag_of_the_dead_never_becomes_valid_again(self) -> None:
        with closing(Lock("thing", max_participants=2, on_owner_death="raise")) as thing:
            with Worker(MAKE) as worker:
                worker.do("thing.acquire()")
                worker.killed()
            for _ in range(5):
                # Each gets the dead one's place.
                with Worker(MAKE) as another:
                    with pytest.raises(OwnerDied):
                        thing.acquire(timeout=0)
                    with pytest.raises(RuntimeError):
                        another.do("thing.release()")
                    another.killed()
            assert thing.recover(timeout=0)

    @pytest.mark.parametrize("number", [1, 1000])
    def test_few_and_many(self, number: int) -> None:
        with closing(Semaphore("thing", 5, max_participants=number)) as thing, Worker() as worker:
            assert thing.acquire()
            if number == 1:
                with pytest.raises(OSError, match="max_participants=2"):
                    worker.do("Semaphore('thing', 5)")
            else:
                worker.do("thing = Semaphore('thing', 5)")
                worker.do("thing.acquire()")
                assert thing.value == 3


class TestLookingOn:
    def test_never_joins_and_never_changes_a_byte(self, runtime_directory: Path) -> None:
        with workers(2, MAKE) as (holder, waiter), closing(Lock.open("thing", mode="r")) as seen:
            holder.do("thing.acquire()")
            waiter.wait_in("thing.acquire()", seen)
            waiter.stop()
            before = (runtime_directory / "thing").read_bytes()
            assert {someone.pid for someone in seen.participants()} == {holder.pid, waiter.pid}
            assert seen.locked()
            stats = seen.stats()
            assert (stats.locked, stats.participants, stats.waiting) == (True, 2, 1)
            assert stats.holder is not None
            assert stats.holder.pid == holder.pid
            assert str(holder.pid) in repr(seen)
            for change in (seen.acquire, seen.release, seen.recover, lambda: seen.acquire(blocking=False)):
                with pytest.raises(TypeError, match="read-only"):
                    change()
            holder.killed()
            assert [someone.alive for someone in seen.participants()] == [False, True]
            assert (runtime_directory / "thing").read_bytes() == before


class TestStoppedOnes:
    def test_live_and_keep_what_they_hold(self) -> None:
        with Worker(MAKE) as worker, closing(Lock("thing")) as thing:
            worker.do("thing.acquire()")
            worker.stop()
            assert thing.acquire(timeout=0.3) is False
            assert all(someone.alive for someone in thing.participants())
            with pytest.raises(AcquireTimeout, match=str(worker.pid)) as caught, thing.within(0.1):
                pass
            assert caught.value.holder is not None
            assert (caught.value.holder.pid, caught.value.holder.alive) == (worker.pid, True)
            worker.resume()
            worker.do("thing.release()")
            assert (thing.acquire(timeout=5), thing.recovered) == (True, False)

    def test_do_not_hold_up_the_others_while_they_wait(self) -> None:
        with workers(3, MAKE) as (holder, stopped, waiter), closing(Lock.open("thing", mode="r")) as seen:
            holder.do("thing.acquire()")
            stopped.wait_in("thing.acquire()", seen)
            # So long that others must let it go first.
            time.sleep(0.2)
            stopped.stop()
            waiter.wait_in("thing.acquire(timeout=30)", seen)
            holder.do("thing.release()")
            assert waiter.answer(1) is True
            waiter.do("thing.release()")
            assert holder.do("thing.acquire(blocking=False)") is True
            holder.do("thing.release()")
            stopped.resume()
            assert stopped.answer(1) is True


class TestForks:
    def test_child_joins_as_itself_when_it_needs_to(self) -> None:
        with (
            Worker("import os, signal; thing = RLock('thing')") as worker,
            closing(RLock.open("thing", mode="r")) as seen,
        ):
            worker.do("thing.acquire()")
            worker.do(FORK)
            child = worker.do("child")
            assert [someone.pid for someone in seen.participants()] == [worker.pid]
            assert worker.do("ask('thing.locked()')") == "True"
            assert "RuntimeError" in worker.do("ask('thing.release()')")
            assert worker.do("ask('thing.acquire(blocking=False)')") == "False"
            assert {someone.pid for someone in seen.participants()} == {worker.pid, child}
            # The child's end is its own.
            worker.do("ask('os._exit(0)')")
            until(lambda: [someone.alive for someone in seen.participants()] == [True, False], "the child's end")
            assert worker.do("thing.depth") == 1
            worker.do("thing.release()")
            assert not seen.locked()

    def test_child_that_closes_takes_nothing_from_its_parent(self) -> None:
        with Worker(f"import os, signal; {MAKE}") as worker, closing(Lock("thing")) as seen:
            worker.do("thing.acquire()")
            worker.do(FORK)
            assert worker.do("ask('thing.close()')") == "None"
            assert [someone.pid for someone in seen.participants() if someone.alive] == [worker.pid, os.getpid()]
            assert seen.acquire(timeout=0.2) is False
            worker.do("ask('os._exit(0)')")
            assert seen.acquire(timeout=0.2) is False
            worker.do("thing.release()")
            assert seen.acquire(timeout=5)
            assert not seen.recovered

    def test_parents_death_is_not_hidden_by_its_child(self) -> None:
        # The child has inherited the descriptor that proves the parent's life.
        with Worker(f"import os, signal; {MAKE}") as worker, closing(Lock("thing")) as seen:
            worker.do("thing.acquire()")
            worker.do("child = os.fork()\nif child == 0: signal.pause()")
            child = worker.do("child")
            try:
                worker.killed()
                assert (seen.acquire(timeout=5), seen.recovered) == (True, True)
            finally:
                os.kill(child, signal.SIGKILL)

    def test_neither_is_it_by_a_child_that_runs_another_program(self) -> None:
        with Worker(MAKE) as worker, closing(Lock("thing")) as seen:
            worker.do("thing.acquire()")
            worker.do("import subprocess")
            worker.do("child = subprocess.Popen(['sleep', '100'], close_fds=False)")
            child = worker.do("child.pid")
            try:
                worker.killed()
                assert (seen.acquire(timeout=5), seen.recovered) == (True, True)
            finally:
                os.kill(child, signal.SIGKILL)

    @pytest.mark.parametrize("work", ["take", "wait", "take, wait, join"])
    def test_while_other_threads_hold_and_wait(self, work: str) -> None:
        succeed(BUSY.replace("WORK", work), 50)


#: Gives the worker a child of its own, and `ask`, to have it do something.
FORK = """
down, up = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(60)
    while True:
        source = os.read(down[0], 1000).decode()
        try:
            answer = repr(eval(source))
        except BaseException as error:
            answer = repr(error)
        os.write(up[1], answer.encode())
os.close(up[1])

def ask(source):
    os.write(down[1], source.encode())
    return os.read(up[0], 1000).decode()
"""

#: Forks in the middle of what other threads do with the things; the children use all of them.
BUSY = """
import asyncio, os, select, signal, sys, threading, traceback, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)
from samemap import *

stop, wrong = False, []
lock, rlock, permits = Lock("lock"), RLock("rlock"), Semaphore("permits", 2)
event, counter, news, rw = Event("event"), Counter("counter"), Condition("news"), ReadWriteLock("rw")
space = Namespace("space")

def take(n):
    for thing in lock, rlock, permits, news:
        with thing:
            counter.add()
    with rw.reading(), permits:
        pass
    with rw.writing():
        pass

def wait(n):
    event.wait(0.001)
    with news:
        news.wait(0.0005)
    counter.wait_until(2**62, timeout=0.0005)
    samemap_wait([event], 0.0005)
    asyncio.run(event.wait_async(0.0005))

def join(n):
    with Event(f"own {n % 7}") as own, Event(None) as other:
        own.set(), other.set()
    entry = space.lock(f"entry {n % 7}")
    with entry:
        pass
    entry.close()

def hammer(work):
    def run():
        n = 0
        try:
            while not stop:
                n += 1
                work(n)
        except BaseException:
            wrong.append(traceback.format_exc())
    thread = threading.Thread(target=run)
    thread.start()
    return thread

def child(n):
    for thing in lock, rlock, permits, news:
        assert thing.acquire(timeout=30), thing
        assert os.getpid() in [someone.pid for someone in thing.participants()]
        thing.release()
    for acquire, release in (rw.acquire_read, rw.release_read), (rw.acquire_write, rw.release_write):
        assert acquire(timeout=30)
        release()
    assert event.wait(0.001) is False
    assert asyncio.run(event.wait_async(0.001)) is False
    with news:
        assert news.wait(0.001) in (True, False)
        news.notify_all()
    counter.add()
    take(n), wait(n), join(n)
    for thing in lock, rlock, permits, news, event, counter, space:
        thing.close()

def reap(pid, seconds):
    watch = os.pidfd_open(pid)
    try:
        if not select.select([watch], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hung"
    finally:
        os.close(watch)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

samemap_wait = sys.modules["samemap"].wait
threads = [hammer(work) for work in [WORK]]
ends = []
for n in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        try:
            child(n)
            # Every other one leaves without a word.
            if n % 2:
                sys.modules["samemap"]._core.leave_all()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    ends.append(reap(pid, 40))
    if ends[-1] != 0 or wrong:
        break
stop = True
for thread in threads:
    thread.join(30)
    assert not thread.is_alive(), "a thread of the parent hangs"
assert not wrong, wrong[0]
assert set(ends) == {0}, ends[-1]
"""


class TestPidNamespaces:
    """Two processes with the same number that are not the same."""

    LINE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

    @pytest.fixture(autouse=True)
    def permitted(self) -> None:
        if shutil.which("unshare") is None:
            pytest.skip("there is no unshare(1) here")
        done = subprocess.run([*self.LINE, "true"], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            pytest.skip(f"this machine permits no pid namespaces: {done.stderr.strip()}")

    def test_death_in_one_is_noticed_in_the_other(self) -> None:
        with workers(2, f"import os; {MAKE}", self.LINE) as (here, there), closing(Lock("thing")) as outside:
            assert here.do("os.getpid()") == there.do("os.getpid()") == 1
            assert sorted(someone.pid for someone in outside.participants()) == [1, 1, os.getpid()]
            assert here.do("thing.acquire()") is True
            with pytest.raises(RuntimeError, match="pid 1"):
                there.do("thing.release()")
            assert there.do("thing.acquire(timeout=0.2)") is False
            assert there.do("[someone.alive for someone in thing.participants()]") == [True] * 3
            there.tell("thing.acquire(timeout=30)")
            assert not there.answers(0.1)
            killed = here.kill()
            assert there.answer() is True
            assert time.monotonic() - killed < 1
            assert there.do("thing.recovered") is True
            there.kill()
            assert (outside.acquire(timeout=5), outside.recovered) == (True, True)


@needs_root
class TestUsers:
    @pytest.fixture
    def open_to_all(self, runtime_directory: Path) -> Path:
        runtime_directory.chmod(0o777)
        return runtime_directory

    def test_two_users_lock_each_other_out_and_recover(self, open_to_all: Path) -> None:
        with closing(Lock(open_to_all / "thing", perm=0o666)) as thing, Worker(BECOME_NOBODY) as other:
            other.do(f"thing = Lock.open('{open_to_all}/thing', any_owner=True)")
            assert thing.acquire()
            assert other.do("thing.acquire(timeout=0.1)") is False
            assert other.do("thing.holder().pid") == os.getpid()
            thing.release()
            assert other.do("thing.acquire(timeout=5)") is True
            assert thing.acquire(timeout=0.1) is False
            assert [someone.user for someone in thing.participants()] == [0, NOBODY]
            other.kill()
            assert (thing.acquire(timeout=5), thing.recovered) == (True, True)

    def test_the_other_way_round(self, open_to_all: Path) -> None:
        with Worker(BECOME_NOBODY) as other:
            other.do(f"thing = Lock('{open_to_all}/thing', perm=0o666)")
            # Root does not trust just any file either.
            with pytest.raises(PermissionError, match="any_owner"):
                Lock.open(open_to_all / "thing")
            with closing(Lock.open(open_to_all / "thing", any_owner=True)) as thing:
                other.do("thing.acquire()")
                assert thing.acquire(timeout=0.1) is False
                other.kill()
                assert (thing.acquire(timeout=5), thing.recovered) == (True, True)

    def test_what_is_private_is_refused(self, open_to_all: Path) -> None:
        with closing(Lock(open_to_all / "thing")), Worker(BECOME_NOBODY) as other:
            for mode in ("r", "rw"):
                with pytest.raises(PermissionError, match="thing") as caught:
                    other.do(f"Lock.open('{open_to_all}/thing', any_owner=True, mode='{mode}')")
                assert caught.value.errno == errno.EACCES

    def test_those_who_may_only_read_look_on(self, open_to_all: Path) -> None:
        with closing(Lock(open_to_all / "thing", perm=0o644)) as thing, Worker(BECOME_NOBODY) as other:
            with pytest.raises(PermissionError):
                other.do(f"Lock.open('{open_to_all}/thing', any_owner=True)")
            thing.acquire()
            other.do(f"thing = Lock.open('{open_to_all}/thing', any_owner=True, mode='r')")
            assert other.do("thing.holder().pid, thing.holder().alive") == (os.getpid(), True)
            assert len(thing.participants()) == 1
