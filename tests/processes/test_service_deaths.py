"""Servers and clients killed with SIGKILL, stopped, or started again: the others go on, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from isolated import until
from workers import Worker, workers

from samemap import Client, Empty, Event, Full, PeerDied, Service, wait, wait_async

#: Seconds. It is 0.05 on an idle machine; how long it really takes is for the benchmarks.
SOON = 1.0

SERVER = """
import itertools, os, threading, time
from samemap import Client, Service, AsyncClient
from samemap.services import current_request

def work(what):
    if what == "sleep":
        time.sleep(3600)
    if what == "die":
        os._exit(1)
    if what == "who":
        return os.getpid()
    return 2 * what

def parts(what):
    try:
        for n in itertools.count():
            yield n
    finally:
        ended.append(n)

ended = []
"""
SERVE = SERVER + "service = Service('s', work, maxsize=16, max_bytes=1 << 20); service.__enter__()"
STREAM = SERVER + "service = Service('s', parts, maxsize=16, max_bytes=1 << 20); service.__enter__()"
CALLING = "import asyncio; from samemap import *; client = Client('s', wait=30)"


def raised(work: Callable[[], object]) -> BaseException:
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class TestServers:
    def test_who_waits_for_a_dead_one_is_told(self) -> None:
        with workers(1, SERVE) as (server,), workers(1, CALLING) as (caller,):
            caller.tell("client.call('sleep')")
            with Client("s") as client:
                until(lambda: client.stats().running == 1, "the call")
            killed = server.kill()
            with pytest.raises(PeerDied, match=str(server.pid)):
                caller.answer()
            assert time.monotonic() - killed < SOON

    def test_tasks_too(self) -> None:
        with workers(1, SERVE) as (server,), workers(1, CALLING) as (caller,):
            caller.tell("asyncio.run(AsyncClient('s').call('sleep'))")
            with Client("s") as client:
                until(lambda: client.stats().running == 1, "the call")
            killed = server.kill()
            with pytest.raises(PeerDied, match=str(server.pid)):
                caller.answer()
            assert time.monotonic() - killed < SOON

    @pytest.mark.parametrize("timeout", [0, 1e-6, 0.001])
    def test_who_only_looks_now_and_then_too(self, timeout: float) -> None:
        with workers(1, SERVE) as (server,), Client("s", wait=30) as client:
            call = client._call("sleep")
            until(lambda: client.stats().running == 1, "the call")
            with pytest.raises(Empty):
                call.recv(timeout)
            server.killed()

            def poll() -> None:
                deadline = time.monotonic() + 10
                while time.monotonic() < deadline:
                    with suppress(Empty):
                        call.recv(timeout)

            with pytest.raises(PeerDied, match=str(server.pid)):
                poll()
            with pytest.raises(PeerDied):
                call.recv(timeout)

    def test_who_looks_for_the_first_time_after_that(self) -> None:
        with workers(1, SERVE) as (server,), Client("s", wait=30) as client:
            call = client._call("sleep")
            until(lambda: client.stats().running == 1, "the call")
            server.killed()
            with pytest.raises(PeerDied, match=str(server.pid)):
                call.recv(0)

    def test_in_the_middle_of_a_stream(self) -> None:
        with workers(1, STREAM) as (server,), Client("s", wait=30) as client:
            stream = client.stream(None, 60)
            assert [next(stream) for _ in range(30)] == list(range(30))
            server.killed()
            # What it had sent is read first.
            rest: list[int] = []
            with pytest.raises(PeerDied):
                rest.extend(stream)
            assert rest == list(range(30, 30 + len(rest)))

    @pytest.mark.parametrize("how", ["wait", "wait_async"])
    def test_a_stream_that_is_waited_for_with_others(self, how: str) -> None:
        with workers(1, SERVE) as (server,), Client("s", wait=30) as client, Event() as stop:
            stream = client.stream("sleep", 60)
            until(lambda: client.stats().running == 1, "the call")
            timer = threading.Timer(0.05, server.kill)
            timer.start()
            found = wait([stop, stream], 60) if how == "wait" else asyncio.run(wait_async([stop, stream], 60))
            assert found == [stream]
            with pytest.raises(PeerDied, match=str(server.pid)):
                next(stream)
            timer.join()

    def test_requests_that_it_had_not_begun_are_for_the_next(self) -> None:
        with workers(1, SERVE) as (server,), workers(3, CALLING) as callers:
            callers[0].tell("client.call('sleep')")
            with Client("s") as client:
                until(lambda: client.stats().running == 1, "the call")
                for n, caller in enumerate(callers[1:]):
                    caller.tell(f"client.call({n})")
                until(lambda: client.stats().depth == 2, "two that wait")
                server.killed()
                with pytest.raises(PeerDied):
                    callers[0].answer()
                assert not client.wait_for_server(0)
                with workers(1, SERVE):
                    assert [caller.answer() for caller in callers[1:]] == [0, 2]
                    assert callers[0].do("client.call(21)") == 42

    def test_started_again_and_again(self) -> None:
        with Service("s", maxsize=16, max_bytes=1 << 20) as service, Client("s") as client:
            for turn in range(5):
                with workers(1, SERVE) as (server,):
                    assert client.wait_for_server(60)
                    assert client.call(turn, 60) == 2 * turn
                    assert isinstance(raised(lambda: client.call("die", 60)), PeerDied)
                    assert server.ends()
            with Service("s", lambda x: x):
                assert client.call(1, 60) == 1
                # Who serves looks after the dead.
                until(lambda: count_taken(service) == 0, "the end of all")

    def test_a_stopped_one_is_no_dead_one(self) -> None:
        with workers(1, SERVE) as (server,), Client("s", wait=30) as client:
            assert client.call(1, 60) == 2
            server.stop()
            with pytest.raises(TimeoutError):
                client.call(2, 0.2)
            server.resume()
            assert client.call(3, 60) == 6

    def test_who_only_reads_sees_what_the_dead_had(self) -> None:
        with workers(2, SERVE) as servers, Client("s", wait=30) as client:
            calls = [client._call("sleep") for _ in range(2)]
            until(lambda: client.stats().running == 2, "both calls")
            with Service.open("s", mode="r") as monitor:
                assert (monitor.stats().running, monitor.stats().orphaned) == (2, 0)
                servers[0].killed()
                # Nobody has looked after it: the others only sleep.
                assert (monitor.stats().running, monitor.stats().orphaned) == (1, 1)
                found = {worker.participant.pid: worker for worker in monitor.workers() if worker.participant}
                dead, living = (found[server.pid] for server in servers)
                assert (dead.serving, dead.requests, dead.done, dead.leases) == (False, 1, 0, ())
                assert len(dead.orphaned) == 1
                assert (len(living.leases), living.orphaned) == (1, ())
                assert {lease.seq for lease in (*dead.orphaned, *living.leases)} == {call.seq for call in calls}

                def looked_after() -> bool:
                    with suppress(Empty, PeerDied):
                        calls[0].recv(0)
                    return monitor.stats().orphaned == 0

                until(looked_after, "the end of what the dead one had")
                assert monitor.stats().running == 1

    def test_two_share_the_load(self) -> None:
        with workers(2, SERVE) as servers, workers(4, CALLING) as callers:
            for caller in callers:
                caller.tell("[client.call('who', 60) for _ in range(500)]")
            found = {pid for caller in callers for pid in caller.answer()}
            assert found == {server.pid for server in servers}
            with Client("s") as client:
                assert {worker.participant.pid for worker in client.workers() if worker.participant} >= found
                assert client.stats().servers == 2
                servers[0].killed()
                assert client.call("who", 60) == servers[1].pid
                assert client.stats().servers == 1

    def test_the_fork_of_a_handler_does_not_serve(self) -> None:
        source = SERVE + "\npid = os.fork()\nif pid == 0:\n    os.close(0); os.close(1); time.sleep(3600)"
        with workers(1, source) as (server,), Client("s", wait=30) as client:
            child = server.do("pid")
            assert client.call(1, 60) == 2
            server.killed()
            try:
                # The child lets go when it begins to run, which may be later.
                until(lambda: not client.wait_for_server(0), "the end of the only server")
            finally:
                os.kill(child, signal.SIGKILL)


class TestClients:
    def test_killed_in_the_middle_of_a_call(self) -> None:
        with workers(1, SERVER + "service = Service('s', work, workers=2); service.__enter__()") as (server,):
            with Client("s") as client:
                for _ in range(5):
                    with workers(1, CALLING) as (caller,):
                        caller.tell("[client.call(n) for n in range(10**9)]")
                        until(lambda: caller_has_called(client, caller), "calls")
                        caller.killed()
                    assert client.call(4, 60) == 8
                until(lambda: client.stats().running == 0, "the end of all")
            assert server.do("service.stats().running") == 0

    def test_killed_in_the_middle_of_a_stream(self) -> None:
        with workers(1, STREAM) as (server,), Client("s", wait=30) as client:
            for turn in range(3):
                with workers(1, CALLING) as (caller,):
                    caller.do("stream = client.stream(None, 60); [next(stream) for _ in range(50)]")
                    caller.killed()
                until(lambda turn=turn: server.do("len(ended)") == turn + 1, "the end of the generator")  # type: ignore[misc]
            with client.stream(None, 60) as stream:
                assert next(stream) == 0

    @pytest.mark.parametrize("how", ["killed", "leave"])
    def test_who_only_asks_for_the_request_notices(self, how: str) -> None:
        with Service("s") as service, workers(1, CALLING) as (caller,):
            caller.do("call = client._call(1)")
            request = service._take(0)
            # So that this is no news: nothing else is done here that looks after the dead.
            assert not request.cancelled
            getattr(caller, how)()
            until(lambda: request.cancelled, "the end of the caller", 5)
            assert not request.reply(0, b"part", 0)
            request.done()

    def test_killed_while_a_task_waits_for_room(self) -> None:
        source = SERVER + "async def more(what):\n    for part in parts(what): yield part\n"
        source += "service = Service('s', more); service.__enter__()"
        with workers(1, source) as (server,), workers(1, CALLING) as (caller,), Client("s", wait=30) as client:
            caller.do("stream = client.stream(None, 60); next(stream)")
            # One sleep is that for the next request.
            until(lambda: any(who.pid == server.pid and who.waiting > 1 for who in client.participants()), "the wait")
            caller.killed()
            until(lambda: server.do("service.stats().running") == 0, "the end of the request")

    def test_a_wait_for_room_ends_with_them(self) -> None:
        with Service("s") as service, workers(1, CALLING) as (caller,):
            caller.do("call = client._call(1)")
            request = service._take(0)
            while True:
                try:
                    request.reply(0, b"part", 0)
                except Full:
                    break
            pending = request._begin_reply(4)
            assert not pending.attempt()
            caller.killed()
            assert pending.attempt()
            assert not request.reply(0, b"part", 0)

    def test_their_lanes_come_back(self) -> None:
        with Service("s", maxsize=200) as service:
            for _ in range(3):
                with workers(1, CALLING + "\nimport threading") as (caller,):
                    caller.do(
                        "[threading.Thread(target=client.call, args=(1,), daemon=True).start() for _ in range(100)]"
                    )
                    until(lambda: service.stats().depth >= 100, "a hundred calls")
                    caller.killed()
                with Client("s") as client, Service("s", lambda x: x):
                    assert [client.call(n, 60) for n in range(300)] == list(range(300))
            assert service.stats().depth == 0

    def test_a_function_notices(self) -> None:
        source = (
            SERVER
            + """
def wait(_):
    while not current_request().cancelled:
        time.sleep(0.001)
    ended.append(1)

service = Service('s', wait)
service.__enter__()
"""
        )
        with workers(1, source) as (server,), workers(1, CALLING) as (caller,):
            caller.tell("client.call(1)")
            until(lambda: server.do("service.stats().running") == 1, "the call")
            caller.killed()
            until(lambda: server.do("ended") == [1], "the function")

    def test_many_at_once(self) -> None:
        with workers(1, SERVE), workers(8, CALLING) as callers:
            for each, caller in enumerate(callers):
                caller.tell(f"[client.call(n, 60) for n in range({each}, {each} + 500)]")
            for each, caller in enumerate(callers):
                assert caller.answer(60) == [2 * n for n in range(each, each + 500)]

    def test_those_killed_at_random_leave_nothing(self) -> None:
        with workers(2, SERVE) as servers, Client("s", wait=30) as client:
            free = client.stats().free_bytes
            for turn in range(10):
                with workers(3, CALLING + "\nimport numpy as np; array = np.ones(5000)") as callers:
                    for caller in callers:
                        caller.tell("while True: client.call(array)")
                    time.sleep(0.02 * turn % 0.07)
                    for caller in callers:
                        caller.kill()
                assert client.call(turn, 60) == 2 * turn
            assert not any(server.ends(0) for server in servers)
            until(lambda: (client.call(1, 60), client.stats().free_bytes == free)[1], "all memory back")
            # Who has replied ends its request a moment later.
            until(lambda: count_taken(client) == 0, "all ended")


class TestCrews:
    RUN = SERVER + "import sys; service = Service('s', work, workers=2)\nservice.run(processes=3)"

    def crew(self) -> Worker:
        supervisor = Worker(SERVER)
        supervisor.tell("service = Service('s', work, workers=2); service.run(processes=3); ended.append('well')")
        return supervisor

    def test_those_that_die_are_replaced(self) -> None:
        with self.crew() as supervisor, Client("s", wait=30) as client:
            until(lambda: client.stats().servers == 3, "three servers")
            for _ in range(2):
                with pytest.raises(PeerDied):
                    client.call("die", 60)
                until(lambda: client.stats().servers == 3, "three servers again")
            assert client.call("who", 60) != supervisor.pid
            supervisor.signal(signal.SIGINT)
            assert supervisor.answer() is None
            assert supervisor.do("ended") == ["well"]
            assert client.stats().servers == 0

    def test_they_end_with_their_supervisor(self) -> None:
        with self.crew() as supervisor, Client("s", wait=30) as client:
            until(lambda: client.stats().servers == 3, "three servers")
            supervisor.killed()
            until(lambda: client.stats().servers == 0, "their end")

    def test_they_end_at_shutdown(self) -> None:
        with self.crew() as supervisor, Client("s", wait=30) as client:
            until(lambda: client.stats().servers == 3, "three servers")
            client.shutdown()
            assert supervisor.answer() is None
            assert client.stats().servers == 0


def count_taken(thing: Service | Client) -> int:
    stats = thing.stats()
    return stats.running + stats.orphaned


def caller_has_called(client: Client, caller: Worker) -> bool:
    found: list[Any] = [each for each in client.clients() if each.participant and each.participant.pid == caller.pid]
    return any(each.calls > 10 for each in found)
