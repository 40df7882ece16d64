"""The half of a pool that the process has who made it: it feeds workers, collects results, and notices deaths."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
import weakref
from collections import deque
from concurrent.futures import Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

from .exhaustion import Full, ShutDown
from .parcels import RemoteTraceback, pack, size_of, told, too_large, unpack, views_or_copies
from .poolworker import BROKEN, CALL, DIED, FAILED, PIECE, RETURNED, STARTING, WORD, Station, called, work
from .queues import Queue
from .region import Region

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess
    from typing import Any

    from .parcels import Parcel

__all__ = ["Pool", "WorkerDied"]

#: So many calls for each worker are on their way or in its hands; they cannot be cancelled any more.
AHEAD = 2
#: How many messages of each kind may wait; and half as many be seen by somebody.
MESSAGES = 512
#: Seconds between two tries to put a call for which there is no room.
AGAIN = 0.02
#: After so many workers in a row that were killed before they were ready, there is no hope.
FALSE_STARTS = 20


class WorkerDied(BrokenProcessPool):
    """A worker of a pool died with this call in its hands; the pool goes on, and so do the other calls.

    Args:
        job: What it was to call.
        pid: Its process; ``None`` where that is not known.
        exitcode: Its exit status, or minus the number of the signal that killed it; ``None`` where that is not known.
        attempts: How many workers died of it.
    """

    def __init__(self, job: str, pid: int | None, exitcode: int | None, attempts: int) -> None:
        super().__init__(job, pid, exitcode, attempts)
        self.job = job
        self.pid = pid
        self.exitcode = exitcode
        self.attempts = attempts

    def __str__(self) -> str:
        who = "a worker" if self.pid is None else f"worker {self.pid}"
        times = "" if self.attempts == 1 else f", as {self.attempts - 1} before it; none is left to try"
        return f"{who} {_how(self.exitcode)} while it was at {self.job}{times}; the pool goes on"


def _how(exitcode: int | None) -> str:
    if exitcode is None:
        return "died"
    if exitcode >= 0:
        return f"ended with exit status {exitcode}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-exitcode).name}"
    return f"was killed by signal {-exitcode}"


def _failed(error: Exception) -> Future[Any]:
    """Return what comes of a call that cannot be sent; not where it was raised, whose frame it would keep alive."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


class Call:
    """A call that is not done."""

    __slots__ = ("deaths", "fn", "future", "is_running", "parcel")

    def __init__(self, fn: Callable[..., Any], parcel: Parcel) -> None:
        self.fn = fn
        self.parcel: Parcel | None = parcel
        self.future: Future[Any] = Future()
        self.is_running = False
        self.deaths = 0


class Worker:
    """A process of the pool."""

    def __init__(self, process: BaseProcess, place: int) -> None:
        self.process = process
        self.place = place
        # The sentinel is a pipe, which children of the worker's keep open, too.
        try:
            self.descriptor = os.pidfd_open(process.pid or 0)
        except OSError:
            self.descriptor = os.dup(process.sentinel)

    def ended(self) -> int | None:
        """Return the exit status of a worker that has ended."""
        os.close(self.descriptor)
        for _ in range(1000):
            # Another thread may have been told, and not have said so yet.
            self.process.join(0.01)
            if (code := self.process.exitcode) is not None:
                return code
        return None


class Pool:
    """Workers, and the calls for them.

    Args:
        context: How processes are started.
        max_workers: How many there are at most.
        max_bytes: Memory for calls, and as much for results.
        retries: How many times a call is tried again whose worker has died.
        initializer: What each worker calls first.
        initargs: Its arguments.
        max_tasks: After how many calls a worker is replaced.
    """

    def __init__(
        self,
        context: BaseContext,
        max_workers: int,
        max_bytes: int,
        retries: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        max_tasks: int | None,
    ) -> None:
        self.context = context
        self.max_workers = max_workers
        self.retries = retries
        self.window = AHEAD * max_workers
        self.pid = os.getpid()
        self.forks = context.get_start_method() == "fork"
        places = max(128, 4 * max_workers)
        self.tasks = Queue(maxsize=max(MESSAGES, self.window), max_bytes=max_bytes, max_participants=places)
        self.results = Queue(maxsize=MESSAGES, max_bytes=max_bytes, max_participants=places)
        self.board = Region(None, max_workers * WORD)
        self.station = Station(
            self.tasks, self.results, self.board, self.pid, retries + 1, initializer, initargs, max_tasks
        )
        #: Guards what follows, and is never held while anything waits, or calls what is not ours.
        self.lock = threading.Lock()
        self.pending: deque[Call] = deque()
        self.running: dict[int, Call] = {}
        self.orphans: list[int] = []
        #: Of results that come in pieces: by number of the call, and by part. Only the thread that collects has it.
        self.pieces: dict[int, dict[int, bytearray]] = {}
        self.number = 0
        self.is_full = False
        self.is_closing = False
        self.broken: str | None = None
        self.cause: str | None = None
        #: Held while processes are started, and before the other one.
        self.staffing = threading.Lock()
        self.workers: list[Worker] = []
        self.false_starts = 0
        self.threads: list[threading.Thread] = []
        #: Not a lock, because the collector rings it, at any moment.
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        if bell := getattr(self, "bell", None):
            os.close(bell)

    def is_own(self) -> bool:
        """Tell whether this process made it: a fork's child has neither its threads nor its workers."""
        return os.getpid() == self.pid

    def ring(self) -> None:
        """Have the thread that watches look about."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.bell, 1)

    # What the executor calls

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Take a call."""
        if not self.is_own():
            raise RuntimeError(
                f"this pool is process {self.pid}'s, which this one was forked from: make another one here"
            )
        self._check_open()
        try:
            parcel = pack((fn, args, kwargs))
            if (size := size_of(parcel)) > (most := self.tasks.max_bytes):
                raise too_large(f"the call of {called(fn)} with its arguments", size, most)
        except Exception as error:
            return _failed(error)
        call = Call(fn, parcel)
        with self.staffing:
            self._check_open()
            self._staff(1)
            with self.lock:
                self._check_open()
                self.pending.append(call)
            if not self.threads:
                self._start()
        self._feed()
        return call.future

    def _check_open(self) -> None:
        if self.broken is not None:
            raise BrokenProcessPool(self.broken)
        if self.is_closing:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _is_exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def close(self) -> None:
        """Take no more calls, and end when all are done. It may be called at any moment, by the collector, too."""
        self.is_closing = True
        if self.is_own():
            self.ring()

    def shut_down(self, wait: bool, cancel: bool) -> None:
        """Take no more calls, and end when all are done."""
        if not self.is_own():
            self.is_closing = True
            return
        with self.lock:
            self.is_closing = True
            cancelled = [call for call in self.pending if cancel and not call.is_running]
            if cancel:
                self.pending = deque(call for call in self.pending if call.is_running)
        for call in cancelled:
            call.future.cancel()
            call.future.set_running_or_notify_cancel()
        with self.staffing:
            threads = self.threads
            if not threads:
                self._close_memory()
        self.ring()
        if wait and threading.current_thread() not in threads:
            for thread in threads:
                thread.join()

    def _close_memory(self) -> None:
        for thing in (self.tasks, self.results, self.board):
            thing.close()

    # Workers

    def _start(self) -> None:
        # They end by themselves: the interpreter waits for them, and so they are no daemons.
        for target in (self._watch, self._collect):
            self.threads.append(threading.Thread(target=target, name=f"samemap-pool-{target.__name__[1:]}"))
        _pools.add(self)
        for thread in self.threads:
            thread.start()

    def _staff(self, more: int) -> None:
        """Start workers, as many as there are calls for; with fork all of them at once, before there are threads."""
        demand = self.max_workers if self.forks else len(self.pending) + len(self.running) + more
        missing = min(self.max_workers, demand) - len(self.workers)
        if missing <= 0:
            return
        taken = {worker.place for worker in self.workers}
        free = [place for place in range(0, self.max_workers * WORD, WORD) if place not in taken]
        for place in free[:missing]:
            self.board.store_u64(place, STARTING)
            process = self.context.Process(target=work, args=(self.station, place))  # type: ignore[attr-defined]
            process.start()
            self.workers.append(Worker(process, place))
        self.ring()

    def _watch(self) -> None:
        try:
            self._look_about()
        except Exception as error:
            self._break("who watches its workers failed", told(error))
        self._finish()

    def _look_about(self) -> None:
        """Bury the dead and start others, until all is done."""
        while not self._is_over():
            with self.lock:
                orphans, self.orphans = self.orphans, []
            with self.staffing:
                workers = {worker.descriptor: worker for worker in self.workers}
            wait = AGAIN if self.is_full or orphans else None
            ready = connection.wait([self.bell, *workers], 0 if orphans else wait)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.bell)
            for descriptor in ready:
                if isinstance(descriptor, int) and descriptor in workers:
                    self._bury(workers[descriptor])
            self._tell_of(orphans)
            self._feed()
            if self.broken is None and not self._is_over():
                try:
                    with self.staffing:
                        self._staff(0)
                except Exception as error:
                    if not self.workers:
                        self._break("no worker could be started", told(error))

    def _is_over(self) -> bool:
        return (self.is_closing or _is_exiting or self.broken is not None) and not self.pending and not self.running

    def _bury(self, worker: Worker) -> None:
        """See to what a worker leaves that has ended."""
        code = worker.ended()
        state = self.board.load_u64(worker.place)
        with self.staffing:
            self.workers.remove(worker)
        if state == FAILED:
            # It has said why.
            return
        if state == STARTING:
            self.false_starts += 1
            if (code is not None and code >= 0) or self.false_starts > FALSE_STARTS:
                self._break(f"worker {worker.process.pid} {_how(code)} before it was ready for calls", None)
            return
        self.false_starts = 0
        if state >= CALL:
            # Behind its last result, if it has sent that.
            self.results.put((DIED, state - CALL, worker.process.pid, code))

    def _tell_of(self, orphans: list[int]) -> None:
        """Tell of calls that came back from nobody knows whom: it died before it could say what it was at."""
        with self.staffing:
            words = {self.board.load_u64(worker.place) for worker in self.workers}
        for number in orphans:
            if CALL + number in words:
                # The dead one is not quite dead yet.
                self.orphans.append(number)
            else:
                self.results.put((DIED, number, 0, None))

    def _finish(self) -> None:
        # Nothing is left that anybody waits for.
        self.tasks.shutdown(immediate=True)
        with self.staffing:
            workers, self.workers = self.workers, []
        for worker in workers:
            worker.process.join()
            worker.ended()
        self.results.shutdown()
        self.threads[1].join()
        self._close_memory()
        _pools.discard(self)

    def _break(self, reason: str, cause: str | None) -> None:
        """Give up."""
        with self.lock:
            if self.broken is not None:
                return
            self.broken = f"the process pool is not usable any more: {reason}"
            left = [*self.running.values(), *self.pending]
            self.running.clear()
            self.pending.clear()
        for call in left:
            error = BrokenProcessPool(self.broken)
            if cause is not None:
                error.__cause__ = RemoteTraceback(cause)
            if call.is_running or call.future.set_running_or_notify_cancel():
                call.future.set_exception(error)
        with self.staffing:
            for worker in self.workers:
                worker.process.terminate()
        self.ring()

    # Calls

    def _feed(self) -> None:
        """Give workers what they can have next."""
        failed: list[tuple[Call, Exception]] = []
        with self.lock:
            while self.pending and len(self.running) < self.window:
                call = self.pending[0]
                if not call.is_running:
                    if not call.future.set_running_or_notify_cancel():
                        self.pending.popleft()
                        continue
                    call.is_running = True
                number = self.number
                assert call.parcel is not None  # noqa: S101 - it has not been sent
                pickled, buffers = call.parcel
                self.running[number] = call
                try:
                    self.tasks.put_nowait((number, pickled, *buffers))
                except Full:
                    del self.running[number]
                    if not self.is_full:
                        self.is_full = True
                        self.ring()
                    break
                except Exception as error:
                    del self.running[number]
                    failed.append((call, error))
                self.number += 1
                call.parcel = None
                self.pending.popleft()
            else:
                self.is_full = False
        for call, reason in failed:
            call.future.set_exception(reason)

    def _collect(self) -> None:
        while True:
            try:
                what, number, *rest = self.results.get()
            except ShutDown:
                return
            except Exception as error:
                self._break("its memory was damaged", told(error))
                return
            if what == BROKEN:
                self._break("the initializer of a worker failed", rest[0])
                continue
            if what == PIECE:
                self._add_piece(number, *rest)
                rest.clear()
                continue
            call = None
            if what == DIED:
                self._died(number, *rest)
            elif (call := self.running.pop(number, None)) is not None:
                self.false_starts = 0
                for part, joined in self.pieces.pop(number, {}).items():
                    rest[part] = memoryview(joined).toreadonly()
                self._settle(call, what, rest)
            # Nothing of it is kept while the next one is waited for.
            del call, rest
            self._feed()
            if not self.running and (self.is_closing or _is_exiting):
                self.ring()

    def _settle(self, call: Call, what: str, rest: list[Any]) -> None:
        cause = None if what == RETURNED else RemoteTraceback(rest.pop(0))
        value: Any = None
        error: BaseException | None = None
        try:
            value = self._unpacked(rest)
        except BaseException as reason:
            # They have views of the memory.
            traceback.clear_frames(reason.__traceback__)
            error = reason
        if cause is not None:
            # What cannot be brought back says so itself.
            error = error or value
            assert error is not None  # noqa: S101 - one of them is
            error.__cause__ = cause
        # Somebody may have set it who should not.
        with contextlib.suppress(InvalidStateError):
            if error is None:
                call.future.set_result(value)
            else:
                call.future.set_exception(error)

    def _unpacked(self, parcel: list[Any]) -> Any:
        pickled, *buffers = parcel
        parcel.clear()
        return unpack(pickled, views_or_copies(self.results, buffers))

    def _add_piece(self, number: int, part: int, start: int, length: int, piece: memoryview) -> None:
        if number not in self.running:
            return
        parts = self.pieces.setdefault(number, {})
        if start == 0:
            # Also when another worker tries again.
            parts[part] = bytearray(length)
        parts[part][start : start + piece.nbytes] = piece

    def _died(self, number: int, pid: int | None, code: int | None) -> None:
        if (call := self.running.get(number)) is None:
            return
        if pid is None:
            with self.lock:
                self.orphans.append(number)
            self.ring()
            return
        call.deaths += 1
        if call.deaths > self.retries or pid == 0:
            del self.running[number]
            self.pieces.pop(number, None)
            call.future.set_exception(WorkerDied(called(call.fn), pid or None, code, call.deaths))


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_is_exiting = False


def _at_exit() -> None:
    """Finish what was begun, before the interpreter waits for threads."""
    global _is_exiting
    _is_exiting = True
    for pool in list(_pools):
        if pool.is_own():
            pool.ring()
            for thread in pool.threads:
                thread.join()


# As concurrent.futures does it: atexit would be too late, and is not for threads of subinterpreters.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
