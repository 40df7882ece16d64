"""Services: making and opening them, and what they tell of themselves."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from isolated import until
from kinds import Pose
from test_services import double, in_thread

import samemap
from samemap import Client, SegmentMismatch, Service

pytestmark = pytest.mark.usefixtures("runtime_directory")


class TestTelling:
    def test_who_works_and_who_calls(self) -> None:
        going = threading.Event()

        def work(x: int) -> int:
            going.wait(60)
            return x

        with Service("s", work) as service, Client("s") as client:
            (worker,) = service.workers()
            assert worker.participant is not None
            assert (worker.participant.pid, worker.serving, worker.requests) == (os.getpid(), True, 0)
            thread, _ = in_thread(lambda: client.call(1, 60))
            until(lambda: service.stats().running == 1, "a call")
            (worker,) = client.workers()
            assert (worker.requests, worker.done, [lease.seq for lease in worker.leases]) == (1, 0, [1])
            assert {who.role for who in service.participants()} == {"worker"}
            going.set()
            thread.join()
            until(lambda: service.stats().done == 1, "its end")

    def test_repr(self) -> None:
        with Service("s", double, maxsize=7) as service, Client("s") as client:
            assert repr(service) == "<samemap.Service 's' pickle -> pickle, 0 of 7 wait, 1 serve>"
            assert repr(client) == "<samemap.Client 's' pickle -> pickle, 0 of 7 wait, 1 serve>"
        assert repr(client) == "<samemap.Client 's' closed>"
        with Service(None, shape=(2, 3), dtype="u1") as service:
            assert repr(service) == "<samemap.Service anonymous uint8[2, 3] -> pickle, 0 of 1024 wait, 0 serve>"

    def test_what_it_was_made_with(self) -> None:
        with Service("s", shape=3, dtype="u1", reply_type=Pose, maxsize=5, max_bytes=1 << 20) as service:
            assert (service.codec, service.shape, service.reply_codec) == ("numpy", (3,), "msgspec")
            assert (service.maxsize, service.max_bytes) == (5, 1 << 20)
            with Service("s") as again:
                assert (again.codec, again.reply_codec, again.maxsize) == ("numpy", "msgspec", 5)
            with pytest.raises(ValueError, match="maxsize=5"):
                Service("s", maxsize=6)
            with pytest.raises(SegmentMismatch, match="uint8 in the file"):
                Service("s", shape=3, dtype="f4")
            with pytest.raises(SegmentMismatch, match="replies of"):
                Service("s", reply_shape=3)
            with pytest.raises(SegmentMismatch, match="bytes asked for"):
                Client("s", codec="bytes")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"workers": 0},
            {"concurrency": 0},
            {"maxsize": 0},
            {"max_bytes": 0},
            {"drain": -1},
            {"shape": 1000, "max_bytes": 10},
            {"reply_shape": 1000, "max_bytes": 10},
            {"any_owner": True},
            {"shape": 3, "any_owner": True},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, Any], runtime_directory: Any) -> None:
        with pytest.raises(ValueError, match="|".join(wrong)):
            Service("s", double, **wrong)
        with pytest.raises(TypeError, match="function"):
            Service("s", "double")  # type: ignore[arg-type] # that is what is tested
        assert list(runtime_directory.iterdir()) == []

    def test_other_things_are_no_services(self) -> None:
        with samemap.Queue("q"), pytest.raises(SegmentMismatch):
            Client("q")
        with pytest.raises(FileNotFoundError):
            Client("missing", wait=0.01)
