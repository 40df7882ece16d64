"""The bell between processes: nobody is lost, nobody hangs, and sleeping costs nothing."""

from __future__ import annotations

import math
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from isolated import asleep, succeed, until

from samemap import PAGE_SIZE, Region

Start = Callable[..., subprocess.Popen[str]]

# Waits on the word 0 of "bell", and tells how that ended.
WAITER = """
import sys
from samemap import Region
mode, expected, timeout = sys.argv[1:]
with Region.open("bell", mode=mode) as region:
    print("waiting", flush=True)
    print(region.wait(0, int(expected), None if timeout == "None" else float(timeout)), flush=True)
"""


@pytest.fixture
def bell() -> Iterator[Region]:
    """Give the region "bell", which strangers can open."""
    with Region.create("bell", 64) as region:
        yield region


@pytest.fixture
def waiter(start: Start) -> Start:
    """Start a process that waits, and come back when it has begun to."""

    def begin(mode: str = "rw", expected: int = 0, timeout: float | None = None) -> subprocess.Popen[str]:
        process = start(mode, str(expected), str(timeout), source=WAITER)
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        return process

    return begin


def answer(process: subprocess.Popen[str]) -> str:
    """Return what else a process prints, once it has ended well."""
    assert process.stdout is not None
    assert process.stderr is not None
    # Not communicate(), which forgets what readline() has read ahead.
    out, err = process.stdout.read(), process.stderr.read()
    assert (process.wait(60), err) == (0, ""), err
    return out.strip()


def sleeps(process: subprocess.Popen[str]) -> Callable[[], bool]:
    return lambda: process.poll() is not None or asleep(process.pid)


class TestBetweenProcesses:
    @pytest.mark.parametrize("mode", ["r", "rw"])
    def test_ring_wakes_a_sleeper_though_nothing_changed(self, bell: Region, waiter: Start, mode: str) -> None:
        process = waiter(mode)
        # Only a sleeper can be counted.
        until(lambda: bell.ring(0) == 1, "the sleep")
        assert answer(process) == "True"

    @pytest.mark.parametrize("mode", ["r", "rw"])
    def test_change_with_a_ring_is_never_missed(self, bell: Region, waiter: Start, mode: str) -> None:
        process = waiter(mode)
        bell.store_u32(0, 1)
        bell.ring(0)
        assert answer(process) == "True"

    def test_ring_from_a_read_only_region(self, bell: Region, waiter: Start) -> None:
        process = waiter()
        with Region.open("bell", mode="r") as reader:
            until(lambda: reader.ring(0) == 1, "the sleep")
        assert answer(process) == "True"

    @pytest.mark.parametrize("count", [1, 3, 4, 2**40, None])
    def test_ring_tells_how_many_woke(self, bell: Region, waiter: Start, count: int | None) -> None:
        assert bell.ring(0, count) == 0
        processes = [waiter() for _ in range(4)]
        for process in processes:
            until(sleeps(process), "the sleep")
        woken: list[int] = []

        # More than once, because a sleeper looks up now and then, and cannot be counted at that moment.
        def ring() -> bool:
            woken.append(bell.ring(0, count))
            return sum(woken) == 4

        until(ring, "the last sleeper")
        assert max(woken) <= (4 if count is None else count)
        assert [answer(process) for process in processes] == ["True"] * 4
        assert bell.ring(0, count) == 0

    def test_ring_for_nobody(self, bell: Region, waiter: Start) -> None:
        process = waiter()
        until(sleeps(process), "the sleep")
        assert bell.ring(0, 0) == 0
        assert bell.ring(4) == 0
        assert process.poll() is None
        until(lambda: bell.ring(0) == 1, "the sleep on the bell")
        assert answer(process) == "True"

    def test_word_that_differs_already(self, bell: Region, waiter: Start) -> None:
        assert answer(waiter(expected=1)) == "True"

    @pytest.mark.parametrize("value", [-1, 2**32 - 1, -(2**31), 2**31])
    def test_expected_word_may_be_written_signed(self, bell: Region, value: int) -> None:
        bell.store_u32(0, value)
        assert bell.wait(0, value, 0) is False
        assert bell.wait(0, value % 2**32, 0) is False
        assert bell.wait(0, (value + 1) % 2**32, 0) is True

    def test_ten_thousand_rounds_of_ping_pong(self, bell: Region, start: Start) -> None:
        rounds = 10_000
        partner = start(
            str(rounds),
            source="""
import sys
from samemap import Region
with Region.open("bell") as region:
    for turn in range(1, int(sys.argv[1]) + 1):
        while region.load_u32(0) != turn:
            assert region.wait(0, turn - 1, 60), turn
        region.store_u32(32, turn)
        region.ring(32)
""",
        )
        for turn in range(1, rounds + 1):
            bell.store_u32(0, turn)
            bell.ring(0)
            while bell.load_u32(32) != turn:
                # A lost wake-up would be a timeout.
                assert bell.wait(32, turn - 1, 60), turn
        assert answer(partner) == ""

    def test_c_wakes_and_is_woken_ten_thousand_times(self, start: Start, c_programs: Path) -> None:
        rounds = 10_000
        with Region(None, 12) as region:
            fd = region.fileno()
            partner = start(c_programs / "inherited", str(fd), str(rounds), pass_fds=[fd])
            for turn in range(0, 2 * rounds, 2):
                region.store_u32(0, turn % 1000)
                region.store_u32(8, turn + 1)
                region.ring(8)
                while region.load_u32(8) == turn + 1:
                    assert region.wait(8, turn + 1, 60), turn
                assert region.load_u32(4) == (turn % 1000) ** 2
            assert answer(partner) == ""

    @pytest.mark.parametrize("offset", [0, 4, PAGE_SIZE - 4, PAGE_SIZE, 3 * PAGE_SIZE - 4])
    def test_any_word_of_any_page(self, offset: int, start: Start) -> None:
        with Region(None, 3 * PAGE_SIZE) as region:
            fd = region.fileno()
            process = start(
                *(str(fd), str(offset)),
                source="""
import sys
from samemap import Region
with Region.from_fd(int(sys.argv[1])) as region:
    print(region.wait(int(sys.argv[2]), 0, 60))
""",
                pass_fds=[fd],
            )
            until(lambda: region.ring(offset) == 1, "the sleep")
            assert answer(process) == "True"


class TestTimeouts:
    @pytest.mark.parametrize("timeout", [0, 0.0, -0.0, 1e-9, 0.001, 1])
    def test_passes_when_nothing_happens(self, bell: Region, timeout: float) -> None:
        begun = time.monotonic()
        assert bell.wait(0, 0, timeout) is False
        assert time.monotonic() - begun >= timeout

    @pytest.mark.parametrize("timeout", [None, 0, 1, math.inf])
    def test_is_not_needed_when_the_word_differs(self, bell: Region, timeout: float | None) -> None:
        assert bell.wait(0, 1, timeout) is True

    @pytest.mark.parametrize("timeout", [-1, -1e-9, -math.inf, math.nan])
    def test_senseless_ones_are_refused(self, bell: Region, timeout: float) -> None:
        with pytest.raises(ValueError, match="timeout"):
            bell.wait(0, 0, timeout)
        with pytest.raises(ValueError, match="timeout"):
            bell.wait(0, 1, timeout)

    @pytest.mark.parametrize("timeout", [None, math.inf, 1e300, 2.0**63, 1e10, 3600])
    def test_for_ever_or_nearly(self, bell: Region, waiter: Start, timeout: float | None) -> None:
        process = waiter(timeout=timeout)
        until(sleeps(process), "the sleep")
        until(lambda: bell.ring(0) == 1, "the sleep on the bell")
        assert answer(process) == "True"

    @pytest.mark.parametrize("timeout", ["1", b"1", [1]])
    def test_what_is_no_number(self, bell: Region, timeout: object) -> None:
        with pytest.raises(TypeError):
            bell.wait(0, 0, timeout)  # type: ignore[arg-type]

    def test_signals_do_not_prolong_it(self) -> None:
        # A timer interrupts the sleep all the time: a relative timeout would begin anew each time.
        succeed(
            """
            import signal, time
            from samemap import Region
            ticks = 0
            def tick(*_):
                global ticks
                ticks += 1
            signal.signal(signal.SIGALRM, tick)
            region = Region(None, 64)
            begun = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
            assert region.wait(0, 0, 0.3) is False
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert time.monotonic() - begun >= 0.3
            assert ticks > 1, ticks
            """,
            timeout=60,
        )


class TestRefusals:
    @pytest.mark.parametrize("offset", [1, 2, 3, 5, 61])
    def test_misaligned(self, bell: Region, offset: int) -> None:
        with pytest.raises(ValueError, match="multiple"):
            bell.wait(offset, 0, 0)
        with pytest.raises(ValueError, match="multiple"):
            bell.wait(offset, 0, 60)
        with pytest.raises(ValueError, match="multiple"):
            bell.ring(offset)

    @pytest.mark.parametrize("offset", [64, 2**40, -4, 2**62])
    def test_out_of_range(self, bell: Region, offset: int) -> None:
        with pytest.raises(IndexError):
            bell.wait(offset, 0, 0)
        with pytest.raises(IndexError):
            bell.wait(offset, 0, 60)
        with pytest.raises(IndexError):
            bell.ring(offset)

    @pytest.mark.parametrize("size", [1, 3])
    def test_region_too_small_for_a_word(self, size: int) -> None:
        with Region(None, size) as region, pytest.raises(IndexError):
            region.wait(0, 0, 0)

    @pytest.mark.parametrize("expected", [2**32, -(2**31) - 1, 2**70])
    def test_word_too_large(self, bell: Region, expected: int) -> None:
        with pytest.raises(OverflowError):
            bell.wait(0, expected, 0)

    def test_negative_count(self, bell: Region) -> None:
        with pytest.raises((ValueError, OverflowError)):
            bell.ring(0, -1)


class TestThreads:
    def test_others_progress_while_one_waits(self, bell: Region) -> None:
        ended = threading.Event()

        def wait() -> None:
            bell.wait(0, 0, 60)
            ended.set()

        thread = threading.Thread(target=wait)
        thread.start()
        # This loop only turns when the waiter has let the interpreter go, and only a sleeper can be counted.
        until(lambda: bell.ring(0) == 1, "the sleep")
        assert ended.wait(60)
        thread.join(60)

    def test_of_two_processes_all_wake(self, bell: Region, start: Start) -> None:
        source = """
import threading
from samemap import Region
with Region.open("bell") as region:
    threads = [threading.Thread(target=region.wait, args=(0, 0, 60)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
        processes = [start(source=source) for _ in range(2)]
        woken = 0

        def ring() -> bool:
            nonlocal woken
            woken += bell.ring(0)
            return woken == 8

        until(ring, "eight sleepers")
        assert [answer(process) for process in processes] == ["", ""]

    def test_close_ends_the_waits_of_this_process_only(self, bell: Region, start: Start) -> None:
        stranger = start(
            source="""
from samemap import Region
with Region.open("bell") as region:
    print("waiting", flush=True)
    while not region.load_u32(0):
        region.wait(0, 0)
    print("done")
"""
        )
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "waiting\n"
        until(sleeps(stranger), "the sleep")
        ends: queue.SimpleQueue[str] = queue.SimpleQueue()
        with Region.open("bell") as ours:

            def wait() -> None:
                try:
                    ours.wait(0, 0)
                except ValueError as error:
                    ends.put(str(error))

            thread = threading.Thread(target=wait)
            thread.start()
        assert "closed" in ends.get(timeout=60)
        thread.join(60)
        until(sleeps(stranger), "the sleep")
        assert stranger.poll() is None
        bell.store_u32(0, 1)
        bell.ring(0)
        assert answer(stranger) == "done"

    def test_fork_while_another_thread_waits(self) -> None:
        succeed(
            """
            import os, threading, warnings
            from samemap import Region
            warnings.simplefilter("ignore", DeprecationWarning)
            region = Region(None, 64)
            thread = threading.Thread(target=region.wait, args=(0, 0, 60))
            thread.start()
            child = os.fork()
            if child == 0:
                # The child has one thread, which can wait, be timed out, ring the parent's, and close.
                assert region.wait(4, 0, 0.001) is False
                while region.ring(0) != 1:
                    pass
                region.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            thread.join(60)
            assert not thread.is_alive()
            assert region.wait(4, 0, 0) is False
            """
        )


class TestSignals:
    @pytest.mark.parametrize("timeout", [None, 3600])
    def test_ctrl_c_ends_a_wait(self, bell: Region, start: Start, timeout: float | None) -> None:
        process = start(
            "rw",
            "0",
            str(timeout),
            # A shell that starts the tests in the background ignores SIGINT, and so would this process.
            source="import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + WAITER,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        until(sleeps(process), "the sleep")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
        assert err.endswith("KeyboardInterrupt\n")

    def test_ctrl_c_at_any_moment(self) -> None:
        # The signal comes before, in, or after the call that falls asleep, differently each time.
        succeed(
            """
            import os, signal, threading
            from samemap import Region
            signal.signal(signal.SIGINT, signal.default_int_handler)
            region = Region(None, 64)
            for n in range(60):
                caught = False
                begin = threading.Event()
                def interrupt():
                    begin.wait()
                    for _ in range(n * 50):
                        pass
                    os.kill(os.getpid(), signal.SIGINT)
                thread = threading.Thread(target=interrupt)
                try:
                    thread.start()
                    begin.set()
                    region.wait(0, 0, 60)
                except KeyboardInterrupt:
                    caught = True
                thread.join()
                assert caught, n
            """,
            timeout=110,
        )

    def test_handler_that_does_not_raise_lets_it_go_on(self, bell: Region, start: Start) -> None:
        process = start(
            source="""
import signal
from samemap import Region
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
with Region.open("bell") as region:
    print("waiting", flush=True)
    print(region.wait(0, 0))
"""
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        for _ in range(5):
            until(sleeps(process), "the sleep")
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == "handled\n"
        assert process.poll() is None
        until(lambda: bell.ring(0) == 1, "the sleep")
        assert answer(process) == "True"

    def test_handler_may_ring_and_close(self) -> None:
        succeed(
            """
            import os, signal, threading
            from samemap import Region

            region = Region(None, 64)
            def change(*_):
                region.store_u32(0, 1)
                region.ring(0)
            signal.signal(signal.SIGUSR1, change)
            signal.signal(signal.SIGALRM, lambda *_: region.close())
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                region.wait(4, 0)
            except ValueError as error:
                assert "closed" in str(error)
            else:
                raise AssertionError("the wait survived close()")

            region = Region(None, 64)
            signal.signal(signal.SIGALRM, change)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert region.wait(0, 0) is True
            """
        )

    def test_stopped_and_continued(self, bell: Region, waiter: Start) -> None:
        process = waiter()
        until(sleeps(process), "the sleep")
        process.send_signal(signal.SIGSTOP)
        until(
            lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T",
            "the stop",
        )
        bell.store_u32(0, 1)
        bell.ring(0)
        process.send_signal(signal.SIGCONT)
        assert answer(process) == "True"

    def test_killed_sleeper_is_not_counted(self, bell: Region, waiter: Start) -> None:
        process = waiter()
        until(sleeps(process), "the sleep")
        process.kill()
        process.wait(60)
        assert bell.ring(0) == 0


def test_waiting_uses_no_processor_time() -> None:
    used = succeed(
        """
        import resource
        from samemap import Region
        region = Region(None, 64)
        before = resource.getrusage(resource.RUSAGE_SELF)
        assert region.wait(0, 0, 1) is False
        after = resource.getrusage(resource.RUSAGE_SELF)
        print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        """
    )
    assert float(used) < 0.05
