"""`Service` and `Client` in one process: calls, errors, streams, cancellation, and what is said about them."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from isolated import succeed, until
from kinds import KINDS, same

from samemap import Client, Empty, Full, PeerDied, RemoteError, Service, ShutDown, serve
from samemap.services import current_request

pytestmark = pytest.mark.usefixtures("runtime_directory")


class Odd(Exception):
    """Cannot be made again from what it pickles."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def double(x: Any) -> Any:
    return 2 * x


def count(n: int) -> Iterator[int]:
    yield from range(n)


def in_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    """Let a thread do it; what it returns or raises is in the list in the end."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(work())
        except BaseException as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


class TestCalls:
    def test_one_after_the_other(self) -> None:
        with Service("s", double), Client("s") as client:
            assert [client.call(n) for n in range(1000)] == [2 * n for n in range(1000)]
            assert client.call(21, timeout=60) == 42

    @pytest.mark.parametrize("workers", [1, 4])
    def test_from_many_threads_at_once(self, workers: int) -> None:
        def work(start: int) -> list[int]:
            return [client.call(n, 60) for n in range(start, start + 200)]

        with Service("s", double, workers=workers) as service, Client("s") as client:
            threads = [in_thread(functools.partial(work, 1000 * each)) for each in range(8)]
            for each, (thread, came) in enumerate(threads):
                thread.join(60)
                assert came == [[2 * n for n in range(1000 * each, 1000 * each + 200)]]
            until(lambda: service.stats().done == 1600, "the end of the last one")
            stats = service.stats()
            assert (stats.requests, stats.depth, stats.running, stats.servers) == (1600, 0, 0, 1)

    def test_more_workers_do_more_at_once(self) -> None:
        meeting = threading.Barrier(3)

        def meet(_: object) -> int:
            return meeting.wait(60)

        with Service("s", meet, workers=3), Client("s") as client:
            threads = [in_thread(lambda: client.call(None, 60)) for _ in range(3)]
            for thread, _ in threads:
                thread.join()
            assert sorted(came[0] for _, came in threads) == [0, 1, 2]

    @pytest.mark.parametrize(("made", "message"), KINDS.values(), ids=KINDS)
    def test_requests_and_replies_of_each_kind(self, made: dict[str, Any], message: Any) -> None:
        replies = {f"reply_{what}": value for what, value in made.items() if what != "codec"}
        kind = made if made or not isinstance(message, bytes) else {"codec": "bytes"}
        types = {what: value for what, value in replies.items() if what == "reply_type"}
        with (
            Service("s", lambda x: x, **kind, **replies),
            Client("s", type=made.get("type"), **types) as client,
        ):
            assert same(client.call(message), message)
            assert [same(part, message) for part in client.stream(message)] == [True]
            assert client.codec == client.reply_codec

    def test_arrays_are_views_of_the_shared_memory(self) -> None:
        seen: list[Any] = []

        def look(array: Any) -> Any:
            seen.append(array)
            return array + 1

        with Service("s", look) as service, Client("s") as client:
            before = service.stats().free_bytes
            replies = [client.call(np.full(100_000, n)) for n in range(3)]
            assert not any(array.flags.owndata or array.flags.writeable for array in (*seen, *replies))
            assert [int(array[7]) for array in seen] == [0, 1, 2]
            assert [int(reply[-1]) for reply in replies] == [1, 2, 3]
            assert service.stats().free_bytes <= before - 6 * 800_000
            seen.clear()
            del replies
            until(lambda: service.stats().free_bytes == before, "all memory back")

    def test_arrays_both_ways(self) -> None:
        shapes: Any = {"shape": (3, 4), "dtype": "f4", "reply_shape": (), "reply_dtype": "f8"}
        with Service("s", lambda array: array.sum(), **shapes) as service, Client("s") as client:
            assert client.call(np.ones((3, 4), "f4")) == 12.0
            assert (client.shape, client.reply_shape, client.reply_dtype) == ((3, 4), (), np.dtype("f8"))
            with pytest.raises(ValueError, match="shape"):
                client.call(np.ones((4, 3), "f4"))
            assert service.stats().requests == 1

    def test_it_is_still_a_function(self) -> None:
        @serve(None, workers=2)
        def triple(x: int) -> int:
            return 3 * x

        assert isinstance(triple, Service)
        assert triple(5) == 15
        assert triple.function is not None
        with pytest.raises(ZeroDivisionError):
            Service(None, lambda x: 1 / x)(0)

    def test_a_function_knows_its_request(self) -> None:
        def tell(_: object) -> tuple[bool, int, float, int | None]:
            request = current_request()
            return request.cancelled, request.seq, request.age, request.client and request.client.pid

        assert Service(None, tell)(None) == (False, 0, 0.0, None)
        with Service("s", tell), Client("s") as client:
            assert client.call(None)[:2] == (False, 1)
            cancelled, seq, age, pid = client.call(None)
            assert (cancelled, seq, pid) == (False, 2, os.getpid())
            assert 0 <= age < 60

    def test_what_cannot_be_sent_is_told_here(self) -> None:
        with Service("s", double, max_bytes=1 << 20) as service, Client("s") as client:
            with pytest.raises((AttributeError, TypeError), match=r"pickle|local object"):
                client.call(lambda: None)
            with pytest.raises(ValueError, match="does not fit"):
                client.call(bytes(2 << 20))
            assert client.call(1) == 2
            assert service.stats().requests == 1

    def test_a_handle_without_a_function_only_looks(self) -> None:
        with Service("s") as service:
            assert service.stats().servers == 0
            with pytest.raises(TypeError, match="no function"):
                service.run()
            with pytest.raises(TypeError, match="no function"):
                service(1)


class TestErrors:
    def test_they_come_with_their_traceback(self) -> None:
        def fail(what: str) -> None:
            raise KeyError(what)

        with Service("s", fail), Client("s") as client:
            with pytest.raises(KeyError, match="cat") as caught:
                client.call("cat")
            assert "in fail" in str(caught.value.__cause__)
            assert "KeyError: 'cat'" in str(caught.value.__cause__)
            with pytest.raises(KeyError, match="dog"):
                client.call("dog")

    def test_what_cannot_travel_comes_as_text(self) -> None:
        def fail(what: str) -> None:
            if what == "odd":
                raise Odd(1, 2)
            if what == "local":

                class LocalError(Exception):
                    pass

                raise LocalError("here only")
            raise SystemExit(3)

        with Service("s", fail), Client("s") as client:
            for what, kind, text in (
                ("odd", "Odd", "1 and 2"),
                ("local", "LocalError", "here only"),
                ("exit", "SystemExit", "3"),
            ):
                with pytest.raises(RemoteError) as caught:
                    client.call(what)
                assert caught.value.kind.endswith(kind)
                assert caught.value.text == text
                assert "in fail" in str(caught.value.__cause__)

    @pytest.mark.parametrize(("made", "message"), KINDS.values(), ids=KINDS)
    def test_whatever_replies_are(self, made: dict[str, Any], message: Any) -> None:
        def fail(_: object) -> Any:
            raise OSError(2, "no such thing")

        replies: Any = {f"reply_{what}": value for what, value in made.items() if what != "codec"}
        kind: Any = made or {"codec": "bytes"}
        with Service("s", fail, **kind, **replies), Client("s") as client:
            with pytest.raises(FileNotFoundError, match="no such thing") as caught:
                client.call(message)
            assert "in fail" in str(caught.value.__cause__)

    def test_a_reply_that_cannot_be_sent(self) -> None:
        def reply(what: str) -> Any:
            return bytes(2 << 20) if what == "large" else threading.Lock() if what == "lock" else what

        with Service("s", reply, max_bytes=1 << 20), Client("s") as client:
            with pytest.raises(ValueError, match="does not fit"):
                client.call("large")
            with pytest.raises(TypeError, match="pickle"):
                client.call("lock")
            assert client.call("hello") == "hello"

    def test_an_error_that_is_too_large(self) -> None:
        def fail(_: object) -> None:
            raise ValueError("x" * (2 << 20))

        with Service("s", fail, max_bytes=1 << 20), Client("s") as client:
            with pytest.raises(RemoteError) as caught:
                client.call(None)
            assert caught.value.kind == "ValueError"
            assert caught.value.text.startswith("xxx")

    def test_errors_travel_further(self) -> None:
        import pickle

        error = pickle.loads(pickle.dumps(RemoteError("Odd", "1 and 2")))
        assert (str(error), error.kind, error.text) == ("Odd: 1 and 2", "Odd", "1 and 2")


class TestStreams:
    def test_parts_in_order(self) -> None:
        with Service("s", count), Client("s") as client:
            assert list(client.stream(1000)) == list(range(1000))
            assert list(client.stream(0)) == []
            with client.stream(3) as parts:
                assert [*parts, *parts] == [0, 1, 2]

    def test_parts_come_as_they_are_made(self) -> None:
        going = threading.Event()

        def parts(_: object) -> Iterator[str]:
            yield "first"
            assert going.wait(60)
            yield "second"

        with Service("s", parts), Client("s") as client:
            stream = client.stream(None, 60)
            assert next(stream) == "first"
            going.set()
            assert list(stream) == ["second"]

    def test_an_error_in_the_middle(self) -> None:
        def parts(n: int) -> Iterator[int]:
            yield from range(n)
            raise LookupError("no more")

        with Service("s", parts), Client("s") as client:
            stream = client.stream(5)
            assert list(itertools.islice(stream, 5)) == [0, 1, 2, 3, 4]
            with pytest.raises(LookupError, match="no more") as caught:
                next(stream)
            assert "in parts" in str(caught.value.__cause__)
            assert list(stream) == []

    @pytest.mark.parametrize("how", ["close", "with", "drop"])
    def test_closing_it_early_closes_the_generator(self, how: str) -> None:
        ended = threading.Event()
        made: list[int] = []

        def parts(_: object) -> Iterator[int]:
            try:
                for n in itertools.count():
                    made.append(n)
                    yield n
            finally:
                ended.set()

        with Service("s", parts) as service, Client("s") as client:
            stream = client.stream(None, 60)
            assert [next(stream) for _ in range(100)] == list(range(100))
            if how == "close":
                stream.close()
                stream.close()
            elif how == "with":
                with stream:
                    pass
            del stream
            assert ended.wait(60)
            until(lambda: service.stats().running == 0, "the end of the request")
            assert len(made) < 200

    def test_the_server_waits_for_a_slow_reader(self) -> None:
        made: list[int] = []

        def parts(_: object) -> Iterator[int]:
            for n in range(200):
                made.append(n)
                yield n

        with Service("s", parts), Client("s") as client:
            stream = client.stream(None, 60)
            assert next(stream) == 0
            until(lambda: len(made) > 5, "some parts")
            time.sleep(0.2)
            assert len(made) < 50
            assert list(stream) == list(range(1, 200))

    def test_call_says_that_it_streams(self) -> None:
        with Service("s", count) as service, Client("s") as client:
            with pytest.raises(TypeError, match="stream"):
                client.call(1000)
            assert list(client.stream(2)) == [0, 1]
            until(lambda: service.stats().done == 2, "the end of both")

    def test_a_part_that_does_not_come(self) -> None:
        going = threading.Event()

        def parts(_: object) -> Iterator[int]:
            yield 1
            going.wait(60)

        with Service("s", parts), Client("s") as client:
            stream = client.stream(None, 0.1)
            assert next(stream) == 1
            with pytest.raises(TimeoutError, match=rf"within 0.1 s: pid {os.getpid()}"):
                next(stream)
            assert list(stream) == []
            going.set()


class TestWaiting:
    def test_a_timeout_says_who_has_the_request(self) -> None:
        going, noticed = threading.Event(), threading.Event()

        def work(_: object) -> None:
            going.wait(60)
            until(lambda: current_request().cancelled, "the cancellation")
            noticed.set()

        with Service("s", work), Client("s") as client:
            with pytest.raises(TimeoutError, match=rf"no reply within 0.1 s: pid {os.getpid()} .* has had the request"):
                client.call(None, 0.1)
            with pytest.raises(TimeoutError, match="nobody had begun"):
                client.call(None, 0.05)
            going.set()
            assert noticed.wait(60)

    @pytest.mark.parametrize("timeout", [0, 1e-6, 60])
    def test_a_request_that_was_ended_without_a_reply(self, timeout: float) -> None:
        with Service("s") as service, Client("s") as client:
            call = client._call(1)
            with pytest.raises(Empty):
                call.recv(0)
            request = service._take(0)
            with pytest.raises(Empty):
                call.recv(0)
            assert request.reply(3, 5)
            request.done()
            assert call.recv(timeout) == (3, 5)
            with pytest.raises(PeerDied, match="ended it without one"):
                call.recv(timeout)

    def test_nobody_serves(self) -> None:
        with Service("s") as service, Client("s") as client:
            with pytest.raises(TimeoutError, match=r"within 0\.05 s: nobody serves"):
                client.call(1, 0.05)
            assert not client.wait_for_server(0)
            assert not client.wait_for_server(0.05)
            assert service.stats().depth == 0

    def test_a_call_waits_for_a_server(self) -> None:
        with Service("s"), Client("s") as client:
            thread, came = in_thread(lambda: (client.wait_for_server(60), client.call(4, 60)))
            time.sleep(0.05)
            with Service("s", double):
                thread.join(60)
            assert came == [(True, 8)]

    def test_requests_that_wait_stay_for_the_next_server(self) -> None:
        begun, going = threading.Event(), threading.Event()

        def slow(x: int) -> int:
            begun.set()
            going.wait(60)
            return -x

        with Service("s"), Client("s") as client:
            server = Service("s", slow)
            with server:
                first = in_thread(lambda: client.call(1, 60))
                assert begun.wait(60)
                second = in_thread(lambda: client.call(2, 60))
                until(lambda: server.stats().depth == 1, "the second request")
                threading.Timer(0.1, going.set).start()
            first[0].join(60)
            assert first[1] == [-1]
            assert second[1] == []
            with Service("s", double):
                second[0].join(60)
            assert second[1] == [4]

    def test_full(self) -> None:
        with Service("s", maxsize=2), Client("s") as client:
            waiting = [in_thread(lambda: client.call(1, 60)) for _ in range(2)]
            until(lambda: client.stats().depth == 2, "two requests")
            for timeout in (0, 0.05):
                with pytest.raises(Full, match="2 of 2"):
                    client.call(3, timeout)
            third = in_thread(lambda: client.call(5, 60))
            with Service("s", double):
                for thread, came in waiting:
                    thread.join(60)
                    assert came == [2]
                third[0].join(60)
                assert third[1] == [10]

    def test_ctrl_c_cancels_a_call(self) -> None:
        told = succeed(
            """
            import _thread, threading, time
            from samemap import Client, Service

            service, client = Service("s"), Client("s")
            def press():
                while service.stats().depth == 0:
                    time.sleep(0.001)
                _thread.interrupt_main()
            threading.Thread(target=press).start()
            try:
                client.call("never")
            except KeyboardInterrupt:
                print(service.stats().depth)
            """
        )
        assert told == "0\n"

    def test_more_calls_at_once_than_there_are_lanes(self) -> None:
        with Service("s", double, workers=2), Client("s") as client:
            threads = [in_thread(lambda n=n: [client.call(n, 60) for _ in range(3)]) for n in range(200)]
            for n, (thread, came) in enumerate(threads):
                thread.join(60)
                assert came == [[2 * n] * 3]


class TestEnds:
    def test_what_was_begun_is_finished(self) -> None:
        begun = threading.Event()

        def slow(x: int) -> int:
            begun.set()
            time.sleep(0.2)
            return x

        with Service("s"), Client("s") as client:
            with Service("s", slow):
                thread, came = in_thread(lambda: client.call(7, 60))
                assert begun.wait(60)
            thread.join(60)
            assert came == [7]
            assert not client.wait_for_server(0)

    def test_streams_go_on_for_a_while_only(self) -> None:
        with Service("s"), Client("s") as client:
            with Service("s", lambda _: iter_forever(), drain=0.1):
                stream = client.stream(None, 60)
                assert next(stream) == 0
                thread, came = in_thread(lambda: list(stream))
            thread.join(60)
            assert isinstance(came[0], ShutDown)
            assert "middle" in str(came[0])

    def test_a_stream_that_nobody_reads_keeps_no_server(self) -> None:
        with Service("s"), Client("s") as client:
            with Service("s", lambda _: iter_forever(), drain=0.1):
                stream = client.stream(None, 60)
                assert next(stream) == 0
            with pytest.raises((ShutDown, ConnectionError)):
                list(stream)

    def test_shutdown_ends_it_for_all(self) -> None:
        with Service("s", double) as service, Client("s") as client:
            runner = in_thread(Service("s", double).run)
            until(lambda: client.call(1, 60) == 2, "an answer")
            service.shutdown()
            runner[0].join(60)
            assert runner[1] == [None]
            with pytest.raises(ShutDown):
                client.call(1)
            with pytest.raises(ShutDown):
                client.wait_for_server(1)
            with pytest.raises(ShutDown):
                Service("s", double).run()
            assert service.stats().shut_down

    def test_stop_ends_run(self) -> None:
        service = Service("s", double)
        runner = in_thread(service.run)
        with Client("s") as client:
            assert client.wait_for_server(60)
            assert client.call(3) == 6
            with pytest.raises(ValueError, match="serves already"):
                service.run()
            service.stop()
            runner[0].join(60)
            assert runner[1] == [None]
            assert not client.wait_for_server(0)
        service.close()

    def test_closing_it_ends_its_threads(self) -> None:
        service = Service("s", double)
        runner = in_thread(service.run)
        until(lambda: service.stats().servers == 1, "the server")
        service.close()
        runner[0].join(60)
        assert runner[1] == [None]

    def test_no_thread_and_no_descriptor_stays(self) -> None:
        from isolated import descriptors

        with Service("s", double), Client("s") as client:
            client.call(1)
        before, threads = descriptors(), threading.active_count()
        for _ in range(10):
            with Service("s", double, workers=3), Client("s") as client:
                assert client.call(1) == 2
        assert (descriptors(), threading.active_count()) == (before, threads)

    def test_ctrl_c_ends_run_quietly(self) -> None:
        told = succeed(
            """
            import os, signal, threading
            from samemap import Client, serve

            @serve("s")
            def double(x):
                return 2 * x

            def ask():
                with Client("s") as client:
                    print(client.call(4))
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=ask).start()
            double.run()
            print("done")
            """
        )
        assert told == "8\ndone\n"


def iter_forever() -> Iterator[int]:
    yield from itertools.count()


def test_a_signal_handler_runs_while_a_call_waits() -> None:
    came: list[int] = []
    with Service("s"), Client("s") as client:
        before = signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
        try:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            with pytest.raises(TimeoutError):
                client.call(1, 0.3)
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert came == [1]
