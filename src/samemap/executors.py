"""`ProcessPoolExecutor`: calls in other processes, with arrays that are seen and not sent, and workers that may die."""

from __future__ import annotations

import multiprocessing
import os
import weakref
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from operator import index

from .pools import Pool, WorkerDied
from .poolworker import run_chunk

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from multiprocessing.context import BaseContext
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["ProcessPoolExecutor", "WorkerDied"]

BYTES = 64 << 20
#: So that there is always room to say what went wrong.
LEAST = 1 << 16
#: What a job's word has room to count, but for the first attempt and the one that is refused.
RETRIES = 253


class ProcessPoolExecutor(Executor):
    """A pool of processes, as ``concurrent.futures.ProcessPoolExecutor``, in shared memory.

    It takes the same arguments, and its futures do the same, but:

    - Arrays, and whatever else pickles its buffers out of band, do not go through pipes. Of 64 KiB or more, what a
      worker gets, and what comes back, are read-only views of memory that both see; but copies, read-only too, when
      half of that memory is still in somebody's hands, so that nobody who collects results holds up the others.
    - When a worker dies, by ``kill -9``, ``os._exit`` or a crash, only the call that it was at fails, with
      `WorkerDied`, a ``BrokenProcessPool``; or is tried again, if ``retries`` says so. Another worker takes its place.

    The pool is broken, with ``BrokenProcessPool`` for all calls, when the initializer fails, or workers do not start.
    When this process dies, its workers go as soon as they are done with what they are at.

    Leave arrays alone that were submitted until their call is done, as ever: they are copied into the memory when it is
    nearly their turn. A call for which there is no room in one piece, because workers keep views of earlier ones, waits
    until they let go.

    Args:
        max_workers: How many processes; as many as there are processors when ``None``.
        mp_context: A context of `multiprocessing`, which says how they are started. With ``fork``, the successor of a
            worker that died is forked from a process that has threads by then; ``forkserver`` is safer if they die.
        initializer: What each of them calls first.
        initargs: Its arguments.
        max_tasks_per_child: After how many calls a process is replaced; not with ``fork``.
        max_bytes: Bytes of memory for calls, and as many for results: so large may one be. All of it is reserved when
            the pool is made.
        retries: How many times a call is tried again whose worker has died; it may have done some of its work before.

    Raises:
        OSError: ``ENOSPC``: there is no room for the memory.
        TypeError: The initializer cannot be called, or a number is none.
        ValueError: The arguments make no sense.

    Example:
        >>> with ProcessPoolExecutor(max_workers=2) as pool:
        ...     power = pool.submit(pow, 2, 10)
        ...     list(pool.map(len, ["one", "three"])), power.result()
        ([3, 5], 1024)
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_bytes: int = BYTES,
        retries: int = 0,
    ) -> None:
        if max_workers is None:
            max_workers = getattr(os, "process_cpu_count", os.cpu_count)() or 1
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        if mp_context is None:
            mp_context = multiprocessing.get_context("spawn" if max_tasks_per_child is not None else None)
        if max_tasks_per_child is not None and mp_context.get_start_method() == "fork":
            raise ValueError(
                "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; supply a different "
                "mp_context."
            )
        if not 0 <= index(retries) <= RETRIES:
            raise ValueError(f"retries is a number from 0 to {RETRIES}, not {retries}")
        if index(max_bytes) < LEAST:
            raise ValueError(f"max_bytes is the size of the memory, at least {LEAST}, not {max_bytes}")
        self._max_workers = max_workers
        self._mp_context = mp_context
        self._pool = Pool(
            mp_context, max_workers, index(max_bytes), index(retries), initializer, initargs, max_tasks_per_child
        )
        # The interpreter's end is seen to where the threads are.
        weakref.finalize(self, self._pool.close).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called by one of the workers.

        Args:
            fn: The function, which the workers must be able to import.
            args: Its arguments.
            kwargs: Those with names.

        Returns:
            What comes of it. Where the function or its arguments cannot be pickled, or are larger than ``max_bytes``,
            its exception says so.

        Raises:
            BrokenProcessPool: The pool is broken.
            RuntimeError: It was shut down, or belongs to the process that this one was forked from.

        Example:
            >>> with ProcessPoolExecutor(max_workers=1) as pool:
            ...     pool.submit(divmod, 7, 0).exception()
            ZeroDivisionError('integer division or modulo by zero')
        """
        return self._pool.submit(fn, args, kwargs)

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """Have a function called for each of what the iterables give.

        Args:
            fn: A function of as many arguments as there are iterables.
            iterables: What gives the arguments; the shortest one says how many calls there are.
            timeout: Seconds until the last result must be there; ``None`` for ever.
            chunksize: How many calls go to a worker at once, which costs less if they are short.

        Returns:
            An iterator over the results, in order.

        Raises:
            Exception: What a call raises, when its turn comes.
            TimeoutError: The time was over, when the next result is asked for.
            ValueError: ``chunksize`` is below 1.

        Example:
            >>> with ProcessPoolExecutor(max_workers=2) as pool:
            ...     list(pool.map(pow, range(5), [2] * 5, chunksize=3))
            [0, 1, 4, 9, 16]
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = super().map(partial(run_chunk, fn), _chunks(zip(*iterables), chunksize), timeout=timeout)  # noqa: B905
        return _one_by_one(chunks)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the workers when all are done. Doing so twice is fine.

        Args:
            wait: Return only when that is so.
            cancel_futures: Cancel the calls that no worker has yet.

        Example:
            >>> pool = ProcessPoolExecutor(max_workers=1)
            >>> pool.shutdown()
            >>> pool.submit(len, "late")
            Traceback (most recent call last):
            RuntimeError: cannot schedule new futures after shutdown
        """
        self._pool.shut_down(wait, cancel_futures)

    @property
    def _processes(self) -> dict[int, Any]:
        """The workers, by process: some programs look there in the standard library's executor."""
        return {worker.process.pid or 0: worker.process for worker in list(self._pool.workers)}


def _chunks(calls: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    calls = iter(calls)
    while chunk := list(islice(calls, size)):
        yield chunk


def _one_by_one(chunks: Iterator[list[T]]) -> Iterator[T]:
    """Yield what is in lists, and keep nothing that was yielded."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
