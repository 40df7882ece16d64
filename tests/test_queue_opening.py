"""Making queues and opening them: what must agree, what is refused, and when pickles are taken."""

from __future__ import annotations

import copy
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isolated import NOBODY, run, succeed
from kinds import KINDS, Pose, same

from samemap import Event, Queue, SegmentMismatch

pytestmark = pytest.mark.usefixtures("runtime_directory")


class TestOpening:
    def test_two_creators_and_a_stranger(self) -> None:
        with Queue.create("q", maxsize=10, max_bytes=1 << 20, max_attempts=3) as first:
            with pytest.raises(FileExistsError):
                Queue.create("q")
            with Queue.open("q") as again, Queue("q") as taken:
                for queue in (first, again, taken):
                    assert (queue.maxsize, queue.max_bytes, queue.max_attempts, queue.codec) == (
                        10,
                        1 << 20,
                        3,
                        "pickle",
                    )
                first.put("hello")
                assert again.get() == "hello"
            first.unlink()
            with pytest.raises(FileNotFoundError):
                Queue.open("q", wait=0.01)

    def test_with_nothing_said(self) -> None:
        with Queue() as queue:
            assert (queue.maxsize, queue.max_bytes, queue.max_attempts) == (4096, 16 << 20, None)
            assert (queue.name, queue.path, queue.codec, queue.shape, queue.dtype) == (None, None, "pickle", None, None)

    @pytest.mark.parametrize(("made", "_"), KINDS.values(), ids=KINDS)
    def test_what_exists_is_taken_as_it_is(self, made: dict[str, Any], _: Any) -> None:
        made = made or {"codec": "bytes"}
        with Queue("q", **made) as queue, Queue.open("q") as again, Queue("q") as taken, Queue("q", **made) as same_:
            assert {each.codec for each in (queue, again, taken, same_)} == {queue.codec}
            assert (again.shape, again.dtype) == (queue.shape, queue.dtype)

    def test_other_jobs_are_refused_field_by_field(self) -> None:
        with Queue("q", dtype=[("x", "f4"), ("y", "f4")], shape=()), pytest.raises(SegmentMismatch) as caught:
            Queue("q", dtype=[("x", "f8"), ("z", "f4")], shape=())
        told = str(caught.value)
        assert all(name in told for name in ("'x'", "float32", "float64", "'y'", "'z'", "q'")), told

    @pytest.mark.parametrize(
        ("made", "asked", "told"),
        [
            ({}, {"codec": "bytes"}, "codec: pickle in the file, bytes asked for"),
            ({}, {"type": Pose}, "codec: pickle in the file, msgspec asked for"),
            ({"codec": "bytes"}, {"codec": "pickle"}, "codec: bytes in the file, pickle asked for"),
            ({"shape": 3, "dtype": "f4"}, {"codec": "pickle"}, "pickle asked for"),
            ({"shape": 3, "dtype": "f4"}, {"shape": 4}, r"shape: \(3,\) in the file, \(4,\) asked for"),
        ],
    )
    def test_another_codec_is_refused(self, made: Any, asked: Any, told: str) -> None:
        with Queue("q", **made):
            for how in (Queue, Queue.open):
                with pytest.raises(SegmentMismatch, match=told):
                    how("q", **asked)

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"maxsize": 8}, r"maxsize=4, not maxsize=8"),
            ({"max_bytes": 8}, r"max_bytes=65536, not max_bytes=8"),
            ({"max_attempts": 1}, r"max_attempts=2, not max_attempts=1"),
        ],
    )
    def test_other_numbers_are_refused(self, given: Any, told: str) -> None:
        numbers: Any = {"maxsize": 4, "max_bytes": 65536, "max_attempts": 2}
        with Queue("q", **numbers):
            with pytest.raises(ValueError, match=told):
                Queue("q", **given)
            with Queue("q", **numbers) as again:
                assert again.maxsize == 4

    def test_another_kind_is_refused(self) -> None:
        with Event("e"), pytest.raises(SegmentMismatch):
            Queue("e")
        with Queue("q"), pytest.raises(SegmentMismatch):
            Event.open("q")

    @pytest.mark.parametrize(
        "arguments",
        [
            {"maxsize": 0},
            {"maxsize": -1},
            {"maxsize": 2**40},
            {"max_bytes": 0},
            {"max_bytes": 2**60},
            {"max_bytes": 11, "shape": 3, "dtype": "f4"},
            {"max_attempts": -1},
            {"max_attempts": 256},
            {"shape": 3, "codec": "pickle"},
            {"shape": 3, "codec": "bytes"},
            {"type": int, "codec": "pickle"},
            {"codec": "json"},
            {"dtype": "O"},
        ],
    )
    def test_what_makes_no_sense_leaves_nothing_behind(self, arguments: Any, runtime_directory: Path) -> None:
        for how in (Queue, Queue.create):
            with pytest.raises((ValueError, OSError), match=r"."):
                how("q", **arguments)
        assert not list(runtime_directory.iterdir())

    def test_a_size_instead_of_a_name_is_explained(self) -> None:
        with pytest.raises(TypeError, match=r"say maxsize=100"):
            Queue(100)  # type: ignore[arg-type]

    def test_numbers_of_numpys(self) -> None:
        with Queue("q", maxsize=np.int64(7), max_bytes=np.uint32(65536)) as queue:  # type: ignore[arg-type]
            assert (queue.maxsize, queue.max_bytes) == (7, 65536)

    def test_a_looker_changes_nothing(self) -> None:
        with Queue("q") as queue, Queue.open("q", mode="r") as looker:
            queue.put({"look": "only"})
            assert (looker.qsize(), looker.empty(), looker.full(), looker.mode) == (1, False, False, "r")
            assert looker.stats().depth == 1
            assert looker.stats().participants == 1
            assert [worker.puts for worker in looker.workers()] == [1]
            for use in (
                lambda: looker.put(1),
                lambda: looker.put_many([1]),
                looker.get,
                looker.get_nowait,
                looker.lease,
                lambda: looker.get_many(1),
                looker.shutdown,
                looker.task_done,
            ):
                with pytest.raises(TypeError, match="read-only"):
                    use()
            assert queue.get() == {"look": "only"}


class TestTrust:
    def test_pickles_of_any_owner_must_be_asked_for(self) -> None:
        with Queue("q") as queue:
            queue.put({1, 2})
            with pytest.raises(SegmentMismatch, match=r"open it with codec='pickle'"):
                Queue.open("q", any_owner=True)
            for how in (Queue, Queue.open):
                with how("q", any_owner=True, codec="pickle") as again:
                    assert again.qsize() == 1

    def test_others_need_not(self) -> None:
        with Queue("q", codec="bytes", any_owner=True), Queue.open("q", any_owner=True) as again:
            assert again.codec == "bytes"

    def test_one_that_may_be_new_must_say_what_it_is(self, runtime_directory: Path) -> None:
        with pytest.raises(ValueError, match=r"codec='pickle' if you trust"):
            Queue("q", any_owner=True)
        assert not list(runtime_directory.iterdir())
        with Queue("other", any_owner=True, codec="pickle") as queue:
            queue.put({1})
            assert queue.get() == {1}

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_a_strangers_handle_is_not_trusted(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(60)
            source = """
                import os, pickle, socket, sys
                from samemap import Queue
                with Queue():
                    # What it imports may be where only root can read.
                    pass
                os.setgid(int(sys.argv[2]))
                os.setuid(int(sys.argv[2]))
                with socket.socket(fileno=int(sys.argv[1])) as sock, Queue() as queue:
                    queue.put("from a stranger")
                    queue.send_handle(sock)
                    queue.send_handle(sock)
            """
            succeed(source, theirs.fileno(), NOBODY, pass_fds=[theirs.fileno()])
            with pytest.raises(SegmentMismatch, match=r"codec='pickle'"):
                Queue.recv_handle(ours)
            with Queue.recv_handle(ours, codec="pickle") as queue:
                assert queue.get() == "from a stranger"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_a_strangers_file_is_not_opened(self, runtime_directory: Path) -> None:
        with Queue("q", perm=0o666) as queue:
            assert queue.path is not None
            os.chown(queue.path, NOBODY, NOBODY)
            for how in (Queue, Queue.open):
                with pytest.raises(PermissionError):
                    how("q")
            with pytest.raises(SegmentMismatch, match=r"codec='pickle'"):
                Queue.open("q", any_owner=True)


class TestTravel:
    def test_a_copy_is_the_same_queue(self) -> None:
        with Queue("q", type=Pose, maxsize=3) as queue, copy.copy(queue) as again:
            queue.put(Pose(1, 2))
            assert again.get() == Pose(1, 2)
            with pickle.loads(pickle.dumps(queue)) as third:
                third.put(Pose(3, 4))
                assert (third.maxsize, third.name) == (3, "q")
            assert queue.get() == Pose(3, 4)

    @pytest.mark.parametrize(("made", "message"), KINDS.values(), ids=KINDS)
    def test_over_a_socket(self, made: dict[str, Any], message: Any) -> None:
        ours, theirs = socket.socketpair()
        made = made or {"codec": "bytes"}
        with ours, theirs, Queue(**made) as queue:
            queue.put(message)
            queue.send_handle(ours)
            with Queue.recv_handle(theirs, type=made.get("type")) as again:
                assert same(again.get(), message)
                assert queue.empty()

    def test_a_handle_of_another_kind_is_refused(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, Event() as event:
            event.send_handle(ours)
            with pytest.raises(ValueError, match="Queue"):
                Queue.recv_handle(theirs)


def test_importing_samemap_loads_no_queue() -> None:
    source = "import sys, samemap; before = {*sys.modules}; samemap.Queue; print(*{*sys.modules} - before)"
    loaded = succeed(source).split()
    assert "samemap.queues" in loaded
    assert not {"numpy", "asyncio", "multiprocessing", "msgspec", "queue", "threading"} & set(loaded)


def test_a_full_file_system_raises(tmp_path: Path) -> None:
    done = run(
        """
        import resource, signal, sys
        from samemap import Queue
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            Queue(sys.argv[1])
        except OSError as error:
            print(error.errno is not None)
        """,
        tmp_path / "q",
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert not list(tmp_path.iterdir())
