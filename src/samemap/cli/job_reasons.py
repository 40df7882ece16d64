"""Why somebody waits for a queue or a service, in words; each function looks at what it is given only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .jobs import Job, Worker, Workload
from .observe import Waiter
from .reasons import Keeper, Reason, Scene, Sleeper, cure_for

__all__ = ["reasons_of_jobs"]


def reasons_of_jobs(scene: Scene, work: Workload) -> Iterator[Reason]:
    """Tell why some wait.

    What each waits for is told by what it has done so far, and by whether there is a job, and room for one.

    Args:
        scene: The queue or service, and who is around.
        work: Its counts, workers and jobs.

    Yields:
        A reason for each thing that somebody waits for; none when nobody waits.
    """
    told = _service if work.kind == "Service" else _queue
    yield from told(scene, work)


def _queue(scene: Scene, work: Workload) -> Iterator[Reason]:
    producers, consumers = _divided(scene.sight.waiters, work)
    if work.is_full:
        if producers:
            yield _for_room(scene, work, producers, "room for a job")
        if consumers:
            yield _about_to(scene, consumers, "a job", f"{work.depth} wait")
        return
    joining = [waiter for waiter in producers if work.depth or work.leased]
    if joining:
        yield _for_the_end(scene, work, joining)
    waiting = [*consumers, *(waiter for waiter in producers if waiter not in joining)]
    if waiting and work.depth:
        yield _about_to(scene, waiting, "a job", f"{work.depth} wait")
    elif waiting:
        yield _for_job(scene, work, waiting, "a job")


def _service(scene: Scene, work: Workload) -> Iterator[Reason]:
    clients, servers = _divided(scene.sight.waiters, work)
    if clients and work.is_full:
        yield _for_room(scene, work, clients, "room for a request")
    elif clients:
        yield _for_reply(scene, work, clients)
    if servers and work.depth:
        yield _about_to(scene, servers, "a request", f"{work.depth} wait")
    elif servers:
        yield _for_job(scene, work, servers, "a request")


def _divided(waiters: Iterable[Waiter], work: Workload) -> tuple[list[Waiter], list[Waiter]]:
    """Return those who put jobs, and those who take them."""
    counts = {worker.pid: (worker.puts, worker.gets) for worker in work.workers}
    putting: list[Waiter] = []
    taking: list[Waiter] = []
    for waiter in waiters:
        puts, gets = counts.get(waiter.pid, (0, 0))
        # Who has done neither waits for what there is none of.
        is_putting = puts > 0 if gets == 0 and puts + gets > 0 else work.is_full and gets == 0
        (putting if is_putting else taking).append(waiter)
    return putting, taking


def _for_room(scene: Scene, work: Workload, waiters: Iterable[Waiter], what: str) -> Reason:
    consumers = [worker for worker in work.workers if worker.gets and worker.alive]
    keepers = _leasing(scene, work) or tuple(_taking(scene, worker) for worker in consumers)
    of = f"{work.depth} of {work.maxsize} wait" if work.free_bytes else "no byte for large messages is free"
    because = f"it is full: {of}, {work.leased} are in hands, {work.held} are done and still viewed"
    if not consumers:
        because += "; nobody who takes jobs is alive"
        return Reason(what, _sleepers(scene, waiters), keepers, because, "start a consumer, or start it again")
    cure = f"{cure_for(keepers, has=bool(work.leased))}; more consumers, or a larger maxsize"
    return Reason(what, _sleepers(scene, waiters), keepers, because, cure)


def _for_job(scene: Scene, work: Workload, waiters: Iterable[Waiter], what: str) -> Reason:
    sleepers = _sleepers(scene, waiters)
    # What servers put are replies.
    is_service = what == "a request"
    producers = [worker for worker in work.workers if worker.puts and not (is_service and worker.gets)]
    doing, puts, has_put = (
        ("has called", "calls", "called") if is_service else ("has put some", "puts anything", "put anything")
    )
    alive = tuple(_active(scene, worker, doing) for worker in producers if worker.alive)
    because = "it is empty"
    if work.is_shut_down:
        return Reason(what, sleepers, (), f"{because}, and shut down", "none is needed: it is about to end")
    if work.leased:
        because += f"; {work.leased} are in hands, and come back if those die"
    if alive:
        return Reason(what, sleepers, alive, f"{because}, and nobody {puts} just now", cure_for(alive, has=False))
    who = "caller" if is_service else "producer"
    because += f"; no {who} is alive" if producers else f"; nobody has {has_put} yet"
    return Reason(what, sleepers, (), because, f"start a {who}, or start it again")


def _for_the_end(scene: Scene, work: Workload, waiters: Iterable[Waiter]) -> Reason:
    keepers = _leasing(scene, work)
    because = f"{work.depth} jobs wait, and {work.leased} are in hands"
    is_served = any(worker.gets and worker.alive for worker in work.workers)
    cure = cure_for(keepers) if keepers else "none is needed: they are being taken" if is_served else "start a consumer"
    return Reason("all jobs to be done (join)", _sleepers(scene, waiters), keepers, because, cure)


def _for_reply(scene: Scene, work: Workload, waiters: Iterable[Waiter]) -> Reason:
    sleepers = _sleepers(scene, waiters)
    keepers = _leasing(scene, work)
    because = f"{work.depth} requests wait, and {work.leased} are in hands"
    if any(worker.gets and worker.alive for worker in work.workers):
        return Reason("a reply", sleepers, keepers, because, cure_for(keepers) if keepers else "look again")
    cure = "start the program that serves, or start it again"
    return Reason("a reply", sleepers, keepers, f"{because}; nobody who serves is alive", cure)


def _about_to(scene: Scene, waiters: Iterable[Waiter], what: str, because: str) -> Reason:
    sleepers = _sleepers(scene, waiters)
    stopped = next((sleeper for sleeper in sleepers if sleeper.hindrance is not None), None)
    if stopped is None:
        return Reason(what, sleepers, (), because, "none is needed: it is about to go on; look again")
    cure = f"pid {stopped.pid} is {stopped.hindrance}; kill -CONT {stopped.pid} lets it go on"
    return Reason(what, sleepers, (), because, cure)


def _sleepers(scene: Scene, waiters: Iterable[Waiter]) -> tuple[Sleeper, ...]:
    return tuple(map(scene.sleeper, waiters))


def _leasing(scene: Scene, work: Workload) -> tuple[Keeper, ...]:
    """Return those who have jobs in their hands, who has them longest first."""
    by_process: dict[tuple[int | None, str, bool, bool], list[Job]] = {}
    for job in sorted(work.in_state("leased"), key=lambda job: job.taken):
        by_process.setdefault((job.pid, job.command, job.alive, job.is_here), []).append(job)
    return tuple(
        scene.known(*who, "has 1 job" if len(jobs) == 1 else f"has {len(jobs)} jobs", jobs[0].taken)
        for who, jobs in by_process.items()
    )


def _taking(scene: Scene, worker: Worker) -> Keeper:
    return _active(scene, worker, "takes jobs, slower than they come")


def _active(scene: Scene, worker: Worker, doing: str) -> Keeper:
    return scene.known(worker.pid, worker.command, worker.alive, worker.is_here, doing)
