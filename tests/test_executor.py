"""`ProcessPoolExecutor`: what the standard library's does, and arrays that are not copied."""

from __future__ import annotations

import concurrent.futures
import gc
import math
import multiprocessing
import operator
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import calls
import numpy as np
import pytest
from isolated import descriptors, succeed, until

import samemap
from samemap import ProcessPoolExecutor

METHODS = ("fork", "spawn", "forkserver")
MIB = 1 << 20


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


class TestContexts:
    def test_calls_and_arrays(self, context: Any) -> None:
        with ProcessPoolExecutor(2, context) as pool:
            assert list(pool.map(pow, range(10), range(10))) == [n**n for n in range(10)]
            assert pool.submit(calls.look, np.ones(MIB)).result() == (False, False, MIB)
            assert isinstance(pool.submit(calls.fail, KeyError("k")).exception(), KeyError)

    def test_initializer(self, context: Any) -> None:
        with ProcessPoolExecutor(2, context, initializer=calls.remember, initargs=({"a": 1},)) as pool:
            assert pool.submit(calls.recall).result() == {"a": 1}

    def test_the_death_of_a_worker(self, context: Any) -> None:
        with ProcessPoolExecutor(1, context) as pool:
            first = pool.submit(calls.pid)
            died, after = pool.submit(calls.die, "exit"), pool.submit(calls.pid)
            error = died.exception()
            assert isinstance(error, samemap.WorkerDied)
            assert (error.pid, error.exitcode, error.job) == (first.result(), 7, "calls.die")
            assert after.result() != first.result()

    def test_processes_are_started_as_needed_and_not_with_fork(self, context: Any) -> None:
        with ProcessPoolExecutor(3, context) as pool:
            assert not pool._processes
            pool.submit(calls.pid).result()
            assert len(pool._processes) == (3 if context.get_start_method() == "fork" else 1)
            for _ in range(10):
                pool.submit(calls.pid).result()
            assert len(pool._processes) <= 3

    def test_failing_initializer_breaks_the_pool(self, context: Any, caplog: pytest.LogCaptureFixture) -> None:
        with ProcessPoolExecutor(2, context, initializer=operator.truediv, initargs=(1, 0)) as pool:
            with pytest.raises(BrokenProcessPool, match="initializer") as caught:
                pool.submit(calls.pid).result()
            assert "ZeroDivisionError" in str(caught.value.__cause__)
            until(lambda: pool._pool.broken is not None, "the end of the pool")
            with pytest.raises(BrokenExecutor):
                pool.submit(calls.pid)


class TestSubmit:
    def test_arguments(self, pool: ProcessPoolExecutor) -> None:
        given = pool.submit(calls.keyed, 1, self=2, fn=3)
        assert given.result() == ((1,), {"self": 2, "fn": 3})

    def test_fn_is_positional_only(self, pool: ProcessPoolExecutor) -> None:
        with pytest.raises(TypeError):
            pool.submit(fn=calls.pid, arg=1)  # type: ignore[call-arg]

    def test_it_is_an_executor(self, pool: ProcessPoolExecutor) -> None:
        assert isinstance(pool, concurrent.futures.Executor)
        assert isinstance(pool.submit(calls.pid), Future)

    def test_callbacks_may_submit(self, pool: ProcessPoolExecutor) -> None:
        got: list[Future[int]] = []
        done = threading.Event()

        def more(future: Future[int]) -> None:
            got.append(pool.submit(pow, future.result(), 2))
            done.set()

        pool.submit(pow, 2, 3).add_done_callback(more)
        assert done.wait(30)
        assert got[0].result() == 64

    def test_wait_and_as_completed(self, pool: ProcessPoolExecutor) -> None:
        futures = [pool.submit(pow, 2, n) for n in range(20)]
        assert sorted(future.result() for future in concurrent.futures.as_completed(futures)) == [
            2**n for n in range(20)
        ]
        done, waiting = concurrent.futures.wait(futures, timeout=0)
        assert len(done) == 20
        assert not waiting

    def test_it_serves_asyncio(self, pool: ProcessPoolExecutor) -> None:
        import asyncio

        async def main() -> list[int]:
            loop = asyncio.get_running_loop()
            return [await loop.run_in_executor(pool, pow, 2, n) for n in range(10)]

        assert asyncio.run(main()) == [2**n for n in range(10)]

    def test_many_threads(self, pool: ProcessPoolExecutor) -> None:
        found: list[int] = []

        def ask() -> None:
            found.extend(future.result() for future in [pool.submit(calls.same, n) for n in range(200)])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == sorted([*range(200)] * 4)

    def test_arguments_and_results_are_let_go(self, pool: ProcessPoolExecutor) -> None:
        # As test_no_stale_references of CPython.
        class Thing:
            def __reduce__(self) -> Any:
                return calls.pid, ()

        thing = Thing()
        gone = threading.Event()
        weakref.finalize(thing, gone.set)
        future = pool.submit(calls.same, thing)
        del thing
        assert gone.wait(30)
        assert future.result() == os.getpid() or future.result() > 0

    def test_connections_travel(self, pool: ProcessPoolExecutor) -> None:
        ours, theirs = multiprocessing.Pipe()
        with ours, theirs:
            assert pool.submit(type, theirs).result() is type(theirs)


class TestErrors:
    def test_the_remote_traceback_is_the_cause(self, pool: ProcessPoolExecutor) -> None:
        error = pool.submit(calls.fail, ValueError("mine")).exception()
        assert isinstance(error, ValueError)
        assert error.args == ("mine",)
        assert "raise error" in str(error.__cause__)
        assert 'calls.py", line' in str(error.__cause__)

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
    def test_base_exceptions_come_back_too(self, pool: ProcessPoolExecutor, error: BaseException) -> None:
        before = pool.submit(calls.pid).result()
        assert type(pool.submit(calls.fail, error).exception()) is type(error)
        assert before in pool._processes

    def test_what_cannot_be_pickled(self, pool: ProcessPoolExecutor) -> None:
        assert "pickle" in str(pool.submit(lambda: None).exception())
        assert "pickle" in str(pool.submit(calls.same, threading.Lock()).exception())
        # Python 3.13 says what it could not get, and not for what.
        assert "local object" in str(pool.submit(calls.unpicklable).exception())
        assert pool.submit(pow, 2, 2).result() == 4

    def test_what_cannot_be_brought_back(self, pool: ProcessPoolExecutor) -> None:
        # On the way there: the standard library loses the pool.
        there = pool.submit(calls.same, calls.Unloadable()).exception()
        assert isinstance(there, LookupError)
        assert "_refuse" in str(there.__cause__)
        back = pool.submit(calls.unloadable).exception()
        assert isinstance(back, LookupError)
        assert pool.submit(pow, 2, 2).result() == 4

    def test_an_error_that_cannot_be_brought_back_is_told_in_the_cause(self, pool: ProcessPoolExecutor) -> None:
        error = pool.submit(calls.fail_particularly).exception()
        assert isinstance(error, TypeError)
        assert "raise Particular(1, 2)" in str(error.__cause__)

    def test_too_large_ones(self) -> None:
        with ProcessPoolExecutor(1, max_bytes=MIB) as pool:
            error = pool.submit(calls.look, np.ones(2 * MIB, "u1")).exception()
            assert isinstance(error, ValueError)
            assert "calls.look with its arguments has 2097" in str(error)
            assert "make the pool with max_bytes=4194304 or more" in str(error)
            error = pool.submit(calls.ones, 2 * MIB).exception()
            assert isinstance(error, ValueError)
            assert "calls.ones returns has 2097" in str(error)
            error = pool.submit(calls.fail, ValueError("x" * 2 * MIB)).exception()
            assert isinstance(error, ValueError)
            assert "max_bytes" in str(error)
            assert pool.submit(calls.ones, MIB - 8192).result().sum() == MIB - 8192
            assert pool._pool.tasks.stats().depth == 0


class TestMap:
    def test_order_and_laziness(self, pool: ProcessPoolExecutor) -> None:
        assert list(pool.map(divmod, [5, 6, 7], [2, 3, 4, 0])) == [(2, 1), (2, 0), (1, 3)]
        results = pool.map(divmod, [1, 1, 1], [1, 1, 0])
        assert next(results) == (1, 0)
        assert next(results) == (1, 0)
        with pytest.raises(ZeroDivisionError):
            next(results)

    @pytest.mark.parametrize("chunksize", [1, 2, 3, 6, 50])
    def test_chunks(self, pool: ProcessPoolExecutor, chunksize: int) -> None:
        assert list(pool.map(pow, range(6), range(6), chunksize=chunksize)) == [n**n for n in range(6)]

    def test_chunksize_must_make_sense(self, pool: ProcessPoolExecutor) -> None:
        with pytest.raises(ValueError, match="chunksize must be >= 1"):
            pool.map(pow, [1], [1], chunksize=-1)

    def test_timeout(self, pool: ProcessPoolExecutor, tmp_path: Path) -> None:
        path = tmp_path / "now"
        got: list[None] = []
        with pytest.raises(TimeoutError):
            got.extend(pool.map(calls.wait_for, [str(tmp_path), str(path)], timeout=0.5))
        path.touch()
        assert got in ([None], [])

    def test_it_is_quick_to_drop_what_was_yielded(self, pool: ProcessPoolExecutor) -> None:
        for array in pool.map(calls.ones, [MIB] * 4, chunksize=2):
            gone = weakref.ref(array)
            del array
            assert gone() is None


class TestCancelling:
    def test_what_no_worker_has(self, tmp_path: Path) -> None:
        path = tmp_path / "now"
        with ProcessPoolExecutor(1) as pool:
            futures = [pool.submit(calls.wait_for, str(path), n) for n in range(10)]
            assert futures[0].running()
            assert not futures[0].cancel()
            assert futures[9].cancel()
            assert futures[9].cancelled()
            path.touch()
            assert [future.result() for future in futures[:9]] == [*range(9)]
            with pytest.raises(CancelledError):
                futures[9].result()
            done, waiting = concurrent.futures.wait(futures, timeout=30)
            assert len(done) == 10
            assert not waiting

    def test_shutdown_with_cancel_futures(self, tmp_path: Path) -> None:
        path = tmp_path / "now"
        pool = ProcessPoolExecutor(1)
        futures = [pool.submit(calls.wait_for, str(path), n) for n in range(10)]
        threading.Timer(0.1, path.touch).start()
        pool.shutdown(cancel_futures=True)
        cancelled = [future.cancelled() for future in futures]
        assert cancelled == sorted(cancelled)
        assert not cancelled[0]
        assert cancelled[9]
        assert all(future.done() for future in futures)
        assert len(concurrent.futures.wait(futures, timeout=0).done) == 10


class TestEnds:
    def test_after_shutdown(self) -> None:
        pool = ProcessPoolExecutor(1)
        pool.shutdown()
        pool.shutdown()
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            pool.submit(pow, 2, 2)

    def test_without_waiting(self, tmp_path: Path) -> None:
        path = tmp_path / "now"
        pool = ProcessPoolExecutor(2)
        futures = [pool.submit(calls.wait_for, str(path), n) for n in range(20)]
        pool.shutdown(wait=False)
        assert not futures[0].done()
        path.touch()
        assert [future.result(30) for future in futures] == [*range(20)]
        for thread in pool._pool.threads:
            thread.join()

    def test_nothing_is_left(self) -> None:
        def use() -> None:
            with ProcessPoolExecutor(2) as pool:
                assert list(pool.map(calls.ones, [MIB] * 3))[2].sum() == MIB

        use()
        before, threads = descriptors(), threading.active_count()
        use()
        assert descriptors() == before
        assert threading.active_count() == threads
        assert not multiprocessing.active_children()

    def test_one_that_is_collected_ends(self) -> None:
        pool = ProcessPoolExecutor(1)
        future = pool.submit(pow, 2, 4)
        threads = pool._pool.threads
        del pool
        gc.collect()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert future.result() == 16

    def test_one_that_was_never_used(self) -> None:
        before = descriptors()
        ProcessPoolExecutor(2).shutdown()
        ProcessPoolExecutor(2)
        assert descriptors() == before

    def test_results_outlive_the_pool(self) -> None:
        with ProcessPoolExecutor(1) as pool:
            array = pool.submit(calls.ones, MIB).result()
        del pool
        gc.collect()
        assert array.sum() == MIB

    @pytest.mark.parametrize("method", METHODS)
    def test_the_interpreter_finishes_what_was_begun(self, method: str, tmp_path: Path) -> None:
        program = tmp_path / "program.py"
        program.write_text(
            "import multiprocessing, sys, time\n"
            "from samemap import ProcessPoolExecutor\n"
            "def say(n):\n"
            "    time.sleep(0.01)\n"
            "    sys.stdout.write(f'apple {n}\\n')\n"
            "    sys.stdout.flush()\n"
            "if __name__ == '__main__':\n"
            f"    pool = ProcessPoolExecutor(2, multiprocessing.get_context({method!r}))\n"
            "    for n in range(10):\n"
            "        pool.submit(say, n)\n"
        )
        done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(done.stdout.splitlines()) == [f"apple {n}" for n in range(10)]

    def test_a_forks_child_does_not_own_it(self) -> None:
        said = succeed(
            """
            import os
            import warnings
            from samemap import ProcessPoolExecutor
            # From Python 3.12 on a fork of a process with threads is warned of: that is what is tested.
            warnings.simplefilter("ignore", DeprecationWarning)
            pool = ProcessPoolExecutor(1)
            assert pool.submit(pow, 2, 3).result() == 8
            if os.fork() == 0:
                try:
                    pool.submit(pow, 2, 3)
                except RuntimeError as error:
                    print(error, flush=True)
                pool.shutdown()
                del pool
                # multiprocessing's own end takes a fork's child for its parent.
                os._exit(0)
            else:
                assert os.wait()[1] == 0
                print(pool.submit(pow, 2, 4).result())
            """
        )
        assert "which this one was forked from" in said
        assert said.endswith("\n16\n")

    def test_without_a_guard_for_main_it_breaks_and_does_not_hang(self, tmp_path: Path) -> None:
        program = tmp_path / "program.py"
        program.write_text(
            "import multiprocessing\n"
            "from samemap import ProcessPoolExecutor\n"
            "pool = ProcessPoolExecutor(1, multiprocessing.get_context('spawn'))\n"
            "print(type(pool.submit(pow, 2, 3).exception()).__name__)\n"
        )
        done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "BrokenProcessPool\n")


class TestArguments:
    @pytest.mark.parametrize("workers", [0, -1])
    def test_max_workers(self, workers: int) -> None:
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            ProcessPoolExecutor(workers)

    def test_as_many_workers_as_processors(self) -> None:
        assert ProcessPoolExecutor()._max_workers == os.cpu_count()

    def test_initializer(self) -> None:
        with pytest.raises(TypeError, match="initializer must be a callable"):
            ProcessPoolExecutor(1, initializer=123)  # type: ignore[arg-type]

    def test_max_tasks_per_child(self) -> None:
        with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
            ProcessPoolExecutor(1, max_tasks_per_child=0)
        with pytest.raises(TypeError, match="must be an integer"):
            ProcessPoolExecutor(1, max_tasks_per_child=1.5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'fork'"):
            ProcessPoolExecutor(1, multiprocessing.get_context("fork"), max_tasks_per_child=1)

    def test_workers_are_replaced_after_so_many_calls(self) -> None:
        with ProcessPoolExecutor(1, max_tasks_per_child=2) as pool:
            pids = [pool.submit(calls.pid).result() for _ in range(6)]
        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]

    def test_retries_and_max_bytes(self) -> None:
        with pytest.raises(ValueError, match="retries is a number from 0"):
            ProcessPoolExecutor(1, retries=-1)
        with pytest.raises(ValueError, match="max_bytes is the size of the memory, at least 65536, not 0"):
            ProcessPoolExecutor(1, max_bytes=0)


class TestArrays:
    def test_arguments_are_read_only_views(self, pool: ProcessPoolExecutor) -> None:
        assert pool.submit(calls.look, np.ones(MIB)).result() == (False, False, MIB)
        assert "read-only" in str(pool.submit(calls.write_into, np.ones(MIB)).exception())

    def test_results_are_read_only_views_of_the_pools_memory(self, pool: ProcessPoolExecutor) -> None:
        array = pool.submit(calls.ones, MIB).result()
        assert not array.flags.writeable
        stats = pool._pool.results.stats()
        assert stats.held == 1
        assert stats.free_bytes <= stats.max_bytes - MIB
        del array
        gc.collect()
        assert pool._pool.results.stats().held == 0

    @pytest.mark.parametrize("shape", [(), (3,), (0, 4), (500, 300), (64, 1024, 3)])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_all_kinds_come_back_as_they_were(self, pool: ProcessPoolExecutor, shape: Any, order: Any) -> None:
        array = np.asarray(np.random.default_rng(1).random(shape), order=order)
        got = pool.submit(calls.same, {"a": array, "b": [array[..., ::2] if shape else array]}).result()
        assert np.array_equal(got["a"], array)
        assert got["a"].flags.f_contiguous == array.flags.f_contiguous

    def test_in_chunks_of_a_map(self, pool: ProcessPoolExecutor) -> None:
        arrays = [np.full(MIB // 4, n, "u1") for n in range(9)]
        got = list(pool.map(calls.look, arrays, chunksize=4))
        assert got == [(False, False, n * MIB // 4) for n in range(9)]

    def test_large_things_that_are_no_arrays(self, pool: ProcessPoolExecutor) -> None:
        text, numbers = "x" * MIB, [*range(100_000)]
        assert pool.submit(calls.same, (text, numbers, b"y" * MIB)).result() == (text, numbers, b"y" * MIB)

    def test_who_keeps_all_results_gets_all(self) -> None:
        with ProcessPoolExecutor(2, max_bytes=2 * MIB) as pool:
            for size in (100_000, 1_000_000):
                arrays = list(pool.map(calls.ones, [size] * 40))
                assert [array.sum() for array in arrays] == [size] * 40
                assert not any(array.flags.writeable for array in arrays)

    def test_a_result_for_which_there_is_no_room_as_a_whole_comes_in_pieces(self) -> None:
        with ProcessPoolExecutor(2, max_bytes=2 * MIB) as pool:
            kept = [pool.submit(calls.ones, 900_000).result()]
            assert pool._pool.results.stats().held == 1
            got = pool.submit(calls.same, [np.arange(200_000), np.arange(100)]).result()
            assert np.array_equal(got[0], np.arange(200_000))
            assert np.array_equal(got[1], np.arange(100))
            error = pool.submit(calls.fail, ValueError("x" * 1_500_000)).exception()
            assert isinstance(error, ValueError)
            assert len(error.args[0]) == 1_500_000
            assert kept[0].sum() == 900_000

    def test_workers_that_keep_their_arguments_do_not_fill_the_memory(self) -> None:
        with ProcessPoolExecutor(1, max_bytes=2 * MIB) as pool:
            futures = [pool.submit(calls.keep, np.ones(300_000, "u1")) for _ in range(40)]
            assert [future.result(60) for future in futures] == [*range(1, 41)]

    def test_more_calls_than_there_is_room_for_wait_their_turn(self) -> None:
        with ProcessPoolExecutor(2, max_bytes=MIB) as pool:
            got = list(pool.map(calls.look, [np.ones(600_000, "u1")] * 20))
        assert got == [(False, False, 600_000)] * 20


def test_a_pool_in_a_worker_of_a_pool() -> None:
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(nested).result() == math.factorial(5)


def nested() -> int:
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(math.factorial, 5).result()


def test_callers_of_the_standard_one_need_change_nothing() -> None:
    """What the documentation of concurrent.futures shows."""
    numbers = [112272535095293, 112582705942171, 115280095190773, 1099726899285419]
    make: Callable[[], concurrent.futures.Executor] = ProcessPoolExecutor
    with make() as executor:
        assert list(executor.map(math.isqrt, numbers)) == [math.isqrt(number) for number in numbers]
