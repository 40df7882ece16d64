"""The programs of every tutorial about mmap: C with Python, Python with Python, and threads.

The C programs are in tests/c, and know nothing of samemap.
"""

from __future__ import annotations

import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from isolated import succeed, until

from samemap import PAGE_SIZE, Region

Start = Callable[..., subprocess.Popen[str]]

# Writes like tests/c/writer.c, and never rings either.
WRITER = """
import itertools, sys, time
from samemap import Region
with Region(sys.argv[1], 4096) as region:
    for word in itertools.cycle(["Hello", "World"]):
        region.write_text(word)
        time.sleep(float(sys.argv[2]) / 1000)
"""

# Prints every text it sees, changed or not, like tests/c/reader.c; torn ones too, if there are any.
READER = """
import sys
from samemap import Region
with Region.open(sys.argv[1], mode="r", wait=60) as region:
    for _ in range(int(sys.argv[2])):
        word = region.load_u32(0)
        print(region.read_text())
        region.wait(0, word, 0.001)
"""


def lines(process: subprocess.Popen[str]) -> list[str]:
    """Return what a program printed, once it has ended well."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), err
    return out.splitlines()


def until_it_prints(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for printed in process.stdout:
        if printed == line + "\n":
            return
    pytest.fail(f"the program ended before it printed {line!r}")


def read_words(region: Region, count: int) -> list[str]:
    """Return so many texts, each another than the one before."""
    words = [""]
    while len(words) <= count:
        word = region.load_u32(0)
        text = region.read_text()
        if text != words[-1]:
            words.append(text)
        else:
            region.wait(0, word, 0.001)
    return words[1:]


def assert_alternates(words: list[str]) -> None:
    assert set(words) == {"Hello", "World"}
    assert all(one != other for one, other in itertools.pairwise(words))


class TestParentAndChildOverAFile:
    PYTHON = """
        import os, sys
        from samemap import Region
        with Region(sys.argv[1], 4096) as region:
            child = os.fork()
            if child == 0:
                print("child reads:", region.read_text(), flush=True)
                region.write_text("written by the child")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            print("parent reads:", region.read_text())
            region.write_text("written by the parent", 64)
        """

    @pytest.mark.parametrize("language", ["C", "Python"])
    def test_a_stranger_writes_before_and_reads_after(self, language: str, c_programs: Path, tmp_path: Path) -> None:
        with Region.create(tmp_path / "file", 4096) as region:
            region.write_text("written by a stranger")
            if language == "C":
                line = [str(c_programs / "parent_child"), str(region.path)]
                said = subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout
            else:
                said = succeed(self.PYTHON, region.path)
            assert said.splitlines() == [
                "child reads: written by a stranger",
                "parent reads: written by the child",
            ]
            assert region.read_text() == "written by the child"
            assert region.read_text(64) == "written by the parent"

    def test_python_opens_the_file_that_c_left(self, c_programs: Path, tmp_path: Path) -> None:
        subprocess.run([c_programs / "parent_child", tmp_path / "file"], check=True, timeout=60, capture_output=True)
        with Region.open(tmp_path / "file", mode="r") as region:
            assert (len(region), region.read_text()) == (4096, "written by the child")

    def test_two_threads_take_turns(self, tmp_path: Path) -> None:
        with Region.create(tmp_path / "file", 4096) as region, Region.open(tmp_path / "file") as same:
            read: queue.SimpleQueue[str] = queue.SimpleQueue()

            def child() -> None:
                same.wait(0, 0, 60)
                read.put(same.read_text(8))
                same.write_text("written by the child", 8)
                same.store_u32(0, 2)
                same.ring(0)

            thread = threading.Thread(target=child)
            thread.start()
            region.write_text("written by the parent", 8)
            region.store_u32(0, 1)
            region.ring(0)
            while region.load_u32(0) == 1:
                region.wait(0, 1, 60)
            thread.join(60)
            assert read.get(timeout=60) == "written by the parent"
            assert region.read_text(8) == "written by the child"


class TestLoopingWriter:
    @pytest.fixture(params=["C", "Python"])
    def writer(self, request: pytest.FixtureRequest, start: Start, c_programs: Path, tmp_path: Path) -> Start:
        """Start a writer of either language that never rings: path, milliseconds."""

        def run(path: Path, milliseconds: int = 1) -> subprocess.Popen[str]:
            if request.param == "C":
                return start(c_programs / "writer", path, str(milliseconds))
            return start(str(path), str(milliseconds), source=WRITER)

        return run

    def test_python_process_reads_whole_words_only(self, writer: Start, start: Start, tmp_path: Path) -> None:
        reader = start(str(tmp_path / "file"), "500", source=READER)
        writing = writer(tmp_path / "file")
        said = lines(reader)
        assert len(said) == 500
        # Before the first word, the file is there and empty.
        assert {"Hello", "World"} <= set(said) <= {"", "Hello", "World"}
        assert writing.poll() is None

    def test_command_line_prints_each_change(self, writer: Start, start: Start, tmp_path: Path) -> None:
        path = tmp_path / "file"
        # An absolute path is a name, too.
        reader = start(
            *(sys.executable, "-m", "samemap", "read", str(path)),
            *("--follow", "--wait", "60s", "--poll", "1ms", "--count", "50"),
        )
        writer(path, 3)
        assert_alternates(lines(reader))

    def test_this_process_reads_alternating_words(self, writer: Start, tmp_path: Path) -> None:
        writer(tmp_path / "file")
        with Region.open(tmp_path / "file", mode="r", wait=60) as region:
            assert_alternates(read_words(region, 200))

    def test_every_thread_reads_whole_words(self, writer: Start, tmp_path: Path) -> None:
        writer(tmp_path / "file")
        results: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        with Region.open(tmp_path / "file", mode="r", wait=60) as region:
            threads = [threading.Thread(target=lambda: results.put(read_words(region, 50))) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                assert_alternates(results.get(timeout=60))
                thread.join(60)

    def test_unchanged_by_its_readers(self, writer: Start, tmp_path: Path) -> None:
        writing = writer(tmp_path / "file")
        for _ in range(3):
            with Region.open(tmp_path / "file", mode="r", wait=60) as region:
                read_words(region, 2)
        writing.kill()
        writing.wait()
        content = (tmp_path / "file").read_bytes()
        assert content[:6] in (b"Hello\0", b"World\0")
        assert content[6:] == bytes(4096 - 6)


class TestLoopingReader:
    @pytest.fixture(params=["C", "Python"])
    def reader(self, request: pytest.FixtureRequest, start: Start, c_programs: Path) -> Start:
        """Start a reader of either language for a file that exists."""

        def run(path: Path) -> subprocess.Popen[str]:
            if request.param == "C":
                return start(c_programs / "reader", path, "1")
            return start(str(path), "1000000000", source=READER)

        return run

    def test_prints_what_this_process_writes(self, reader: Start, tmp_path: Path) -> None:
        with Region.create(tmp_path / "file", 4096) as region:
            reading = reader(region.path)
            until_it_prints(reading, "")
            for word in ["Hello", "World"] * 5:
                region.write_text(word)
                until_it_prints(reading, word)

    def test_prints_what_a_thread_writes(self, reader: Start, tmp_path: Path) -> None:
        with Region.create(tmp_path / "file", 4096) as region:
            stop = threading.Event()

            def write() -> None:
                while not stop.is_set():
                    for word in ("Hello", "World"):
                        region.write_text(word)
                        stop.wait(0.002)

            thread = threading.Thread(target=write)
            thread.start()
            try:
                reading = reader(region.path)
                for word in ["Hello", "World"] * 5:
                    until_it_prints(reading, word)
            finally:
                stop.set()
                thread.join(60)

    def test_prints_what_another_process_writes(self, reader: Start, start: Start, tmp_path: Path) -> None:
        start(str(tmp_path / "file"), "2", source=WRITER)
        with Region.open(tmp_path / "file", wait=60):
            reading = reader(tmp_path / "file")
            for word in ["Hello", "World"] * 5:
                until_it_prints(reading, word)

    def test_prints_what_the_command_line_writes(self, reader: Start, start: Start, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(bytes(4096))
        writing = start(
            *(sys.executable, "-m", "samemap", "write", str(tmp_path / "file")),
            *("--every", "2ms", "Hello", "World"),
        )
        reading = reader(tmp_path / "file")
        for word in ["Hello", "World"] * 5:
            until_it_prints(reading, word)
        assert writing.poll() is None


class TestAnonymousIntegers:
    PYTHON = """
        import os
        from samemap import Region
        with Region(None, 8) as region:
            numbers = memoryview(region).cast("i")
            numbers[0] = 42
            child = os.fork()
            if child == 0:
                print("child reads:", numbers[0], flush=True)
                numbers[0], numbers[1] = 43, -1
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            print("parent reads:", numbers[0], numbers[1])
        """

    def test_python_says_what_c_says(self, c_programs: Path) -> None:
        line = [str(c_programs / "anonymous")]
        c = subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout
        assert c == "child reads: 42\nparent reads: 43 -1\n"
        assert succeed(self.PYTHON) == c

    def test_threads_of_parent_and_child_add_to_the_same_numbers(self) -> None:
        succeed(
            """
            import os, threading
            from samemap import Region
            with Region(None, 8) as region:
                def add():
                    for _ in range(10_000):
                        region.fetch_add_u32(0, 1)
                        region.fetch_add_u32(4, -1)
                # Forked first: in a process with threads, newer interpreters warn of forking.
                child = os.fork()
                threads = [threading.Thread(target=add) for _ in range(3)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
                if child == 0:
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                assert list(memoryview(region).cast("i")) == [60_000, -60_000]
            """
        )


QUESTION, ANSWER, TURN = 0, 4, 8


def ask(region: Region, round_: int, question: int) -> int:
    """Ask the partner, awake or not, and return its answer."""
    memoryview(region).cast("i")[QUESTION // 4] = question
    region.store_u32(TURN, 2 * round_ + 1)
    region.ring(TURN)
    while region.load_u32(TURN) == 2 * round_ + 1:
        assert region.wait(TURN, 2 * round_ + 1, 60), "no answer came"
    return memoryview(region).cast("i")[ANSWER // 4]


class TestInheritedDescriptor:
    # Answers like tests/c/inherited.c.
    PYTHON = """
import sys
from samemap import Region
fd, rounds = map(int, sys.argv[1:])
with Region.from_fd(fd) as region:
    numbers = memoryview(region).cast("i")
    for round in range(rounds):
        while region.load_u32(8) != 2 * round + 1:
            region.wait(8, 2 * round)
        numbers[1] = numbers[0] ** 2
        region.store_u32(8, 2 * round + 2)
        region.ring(8)
"""

    @pytest.fixture(params=["C", "Python"])
    def partner(self, request: pytest.FixtureRequest, start: Start, c_programs: Path) -> Start:
        """Start a program of either language that has nothing but a descriptor."""

        def run(region: Region, rounds: int) -> subprocess.Popen[str]:
            fd = region.fileno()
            if request.param == "C":
                return start(c_programs / "inherited", str(fd), str(rounds), pass_fds=[fd])
            return start(str(fd), str(rounds), source=self.PYTHON, pass_fds=[fd])

        return run

    @pytest.mark.parametrize("name", [None, "inherited"])
    def test_question_and_answer(self, partner: Start, name: str | None) -> None:
        with Region(name, 12) as region:
            answering = partner(region, 2000)
            for round_ in range(2000):
                assert ask(region, round_, round_ - 1000) == (round_ - 1000) ** 2
            assert lines(answering) == []

    def test_of_a_file_whose_name_is_gone(self, partner: Start) -> None:
        with Region.create("inherited", 12) as region:
            region.unlink()
            answering = partner(region, 1)
            assert ask(region, 0, -7) == 49
            assert lines(answering) == []

    def test_sleeper_is_woken(self, partner: Start) -> None:
        with Region(None, 12) as region:
            answering = partner(region, 1)
            # It looks again, and goes back to sleep.
            until(lambda: region.ring(TURN) == 1, "the partner's sleep")
            assert ask(region, 0, 12) == 144
            assert lines(answering) == []

    def test_asked_by_threads_in_turn(self, partner: Start) -> None:
        with Region(None, 12) as region:
            answering = partner(region, 100)
            rounds = iter(range(100))
            turn = threading.Lock()
            wrong: list[object] = []

            def work() -> None:
                try:
                    while True:
                        with turn:
                            round_ = next(rounds, None)
                            if round_ is None:
                                return
                            assert ask(region, round_, round_) == round_**2
                except BaseException as error:
                    wrong.append(error)

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(90)
            assert wrong == []
            assert lines(answering) == []

    def test_partner_ignores_what_is_no_answer(self, partner: Start) -> None:
        with Region(None, 12) as region:
            answering = partner(region, 1)
            for _ in range(100):
                region.ring(TURN)
            os.kill(answering.pid, signal.SIGSTOP)
            os.kill(answering.pid, signal.SIGCONT)
            assert ask(region, 0, 3) == 9
            assert lines(answering) == []


class TestGrowing:
    SIZE = 3 * PAGE_SIZE + 100
    END = SIZE - len(b"the end\0")

    # Like tests/c/grow.c.
    PYTHON = """
import sys
from samemap import Region
path, size, text = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with Region.open(path) as region:
    region.resize(size)
    region.write_text(text, size - len(text) - 1)
    print(region.read_text())
"""

    @pytest.fixture(params=["C", "Python"])
    def grow(self, request: pytest.FixtureRequest, start: Start, c_programs: Path) -> Callable[[Region], list[str]]:
        """Let a program of either language make the file longer, and write at its end."""

        def run(region: Region) -> list[str]:
            arguments = (str(region.path), str(self.SIZE), "the end")
            if request.param == "C":
                return lines(start(c_programs / "grow", *arguments))
            return lines(start(*arguments, source=self.PYTHON))

        return run

    @pytest.mark.parametrize("mode", ["r", "rw"])
    def test_region_that_was_open_before_sees_it(
        self, grow: Callable[[Region], list[str]], mode: Literal["r", "rw"], tmp_path: Path
    ) -> None:
        with Region.create(tmp_path / "file", PAGE_SIZE) as region:
            region.write_text("the start")
            with Region.open(tmp_path / "file", mode=mode) as before:
                view = memoryview(before)
                assert grow(region) == ["the start"]
                assert len(before) == self.SIZE
                assert before.read_text(self.END) == "the end"
                # A view keeps its length, and shows the same memory.
                assert len(view) == PAGE_SIZE
                region[0] = ord("T")
                assert bytes(view[:9]) == b"The start"

    def test_reservation_is_too_small(self, grow: Callable[[Region], list[str]], tmp_path: Path) -> None:
        with Region.create(tmp_path / "file", PAGE_SIZE, max_size=PAGE_SIZE) as region:
            grow(region)
            assert len(region) == self.SIZE
            assert region.read_text(self.END) == "the end"

    def test_seen_by_threads(self, grow: Callable[[Region], list[str]], tmp_path: Path) -> None:
        with Region.create(tmp_path / "file", PAGE_SIZE) as region:
            ends: queue.SimpleQueue[str] = queue.SimpleQueue()

            def follow() -> None:
                until(lambda: len(region) == self.SIZE, "the growth")
                until(lambda: region.read_text(self.END) == "the end", "the text at the end")
                ends.put(region.read_text(self.END))

            threads = [threading.Thread(target=follow) for _ in range(3)]
            for thread in threads:
                thread.start()
            grow(region)
            for thread in threads:
                thread.join(60)
            assert [ends.get(timeout=1) for _ in threads] == ["the end"] * 3
