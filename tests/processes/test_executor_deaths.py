"""Workers of a pool killed at their work: each takes no more with it than what it had in its hands."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import calls
import numpy as np
import pytest
from isolated import until

from samemap import ProcessPoolExecutor, WorkerDied

METHODS = ("fork", "forkserver")


def read(path: Path) -> int:
    until(path.exists, "a worker")
    return int(path.read_text())


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


class TestOne:
    def test_only_its_own_call_fails(self, context: Any, tmp_path: Path) -> None:
        path = tmp_path / "pid"
        with ProcessPoolExecutor(2, context) as pool:
            before = [pool.submit(pow, 2, n) for n in range(20)]
            victim = pool.submit(calls.say_and_wait, str(path))
            after = [pool.submit(pow, 3, n) for n in range(20)]
            pid = read(path)
            os.kill(pid, signal.SIGKILL)
            error = victim.exception(30)
            assert isinstance(error, WorkerDied)
            assert isinstance(error, BrokenProcessPool)
            assert (error.pid, error.exitcode, error.job, error.attempts) == (pid, -9, "calls.say_and_wait", 1)
            assert (
                str(error) == f"worker {pid} was killed by SIGKILL while it was at calls.say_and_wait; the pool goes on"
            )
            assert [future.result(30) for future in before] == [2**n for n in range(20)]
            assert [future.result(30) for future in after] == [3**n for n in range(20)]

    @pytest.mark.parametrize(
        ("how", "told"),
        [("exit", "ended with exit status 7"), ("crash", "was killed by SIGSEGV"), ("kill", "was killed by SIGKILL")],
    )
    def test_it_is_told_how(self, how: str, told: str) -> None:
        with ProcessPoolExecutor(1) as pool:
            assert told in str(pool.submit(calls.die, how).exception(30))
            assert pool.submit(pow, 2, 3).result(30) == 8

    def test_an_idle_one_takes_nothing_with_it(self, context: Any) -> None:
        with ProcessPoolExecutor(2, context) as pool:
            pids = {pool.submit(calls.pid).result(30)}
            for pid in list(pool._processes):
                os.kill(pid, signal.SIGKILL)
            assert pool.submit(calls.pid).result(30) not in pids

    def test_the_memory_of_its_arguments_comes_back(self) -> None:
        with ProcessPoolExecutor(1, max_bytes=1 << 20) as pool:
            for _ in range(5):
                assert isinstance(pool.submit(die_with, np.ones(700_000, "u1")).exception(30), WorkerDied)


def die_with(array: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class TestRetries:
    def test_until_it_works(self, context: Any, tmp_path: Path) -> None:
        with ProcessPoolExecutor(2, context, retries=3) as pool:
            assert pool.submit(calls.die_unless, str(tmp_path / "count"), 3).result(60) == 4

    def test_not_more_than_was_said(self, tmp_path: Path) -> None:
        path = tmp_path / "count"
        with ProcessPoolExecutor(2, retries=2) as pool:
            error = pool.submit(calls.die_unless, str(path), 100).exception(60)
            assert isinstance(error, WorkerDied)
            assert error.attempts == 3
            assert "as 2 before it" in str(error)
            assert pool.submit(pow, 2, 3).result(30) == 8
        assert path.stat().st_size == 3

    def test_errors_are_no_deaths(self) -> None:
        with ProcessPoolExecutor(1, retries=2) as pool:
            assert isinstance(pool.submit(calls.fail, KeyError()).exception(30), KeyError)


class TestStorms:
    def test_calls_that_kill_their_workers(self) -> None:
        with ProcessPoolExecutor(3) as pool:
            futures = [pool.submit(calls.sometimes_die, n) for n in range(500)]
            for number, future in enumerate(futures):
                if number % 25 == 7:
                    assert isinstance(future.exception(60), WorkerDied)
                else:
                    assert future.result(60) == number

    @pytest.mark.parametrize("retries", [0, 50])
    def test_workers_that_are_killed_at_any_moment(self, retries: int) -> None:
        chance = random.Random(retries)
        over = threading.Event()

        def kill(pool: ProcessPoolExecutor) -> None:
            while not over.wait(chance.uniform(0.005, 0.03)):
                if processes := list(pool._processes):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(processes), signal.SIGKILL)

        with ProcessPoolExecutor(3, max_bytes=8 << 20, retries=retries) as pool:
            killer = threading.Thread(target=kill, args=(pool,))
            try:
                arrays = [np.full(100_000, n % 200, "u1") for n in range(500)]
                futures = [pool.submit(calls.same, array) for array in arrays]
                killer.start()
                died = 0
                for array, future in zip(arrays, futures, strict=True):
                    try:
                        assert np.array_equal(future.result(60), array)
                    except WorkerDied:
                        died += 1
            finally:
                over.set()
                killer.join()
            assert died == 0 if retries else died < 500
            assert pool.submit(pow, 2, 3).result(60) == 8


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_leave_when_their_parent_has_died(
    method: str, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, os, sys, time\n"
        "from samemap import ProcessPoolExecutor\n"
        "if __name__ == '__main__':\n"
        f"    pool = ProcessPoolExecutor(2, multiprocessing.get_context({method!r}))\n"
        "    futures = [pool.submit(time.sleep, 0.1) for n in range(8)]\n"
        "    futures[-1].result()\n"
        "    print(*pool._processes, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = start(sys.executable, program)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    until(lambda: not any(map(lives, pids)), "the end of the workers")


def test_a_death_while_the_pool_is_shut_down(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pool = ProcessPoolExecutor(1)
    futures = [pool.submit(calls.say_and_wait, str(path)), *(pool.submit(pow, 2, n) for n in range(9))]
    pid = read(path)
    pool.shutdown(wait=False)
    os.kill(pid, signal.SIGKILL)
    assert isinstance(futures[0].exception(30), WorkerDied)
    assert [future.result(30) for future in futures[1:]] == [2**n for n in range(9)]
    started = time.monotonic()
    for thread in pool._pool.threads:
        thread.join(30)
    assert time.monotonic() - started < 30
