"""Everything that ``samemap top`` knows of one segment."""

from __future__ import annotations

from collections.abc import Iterator

from .display import age, human_size, printable
from .history import Row, Snapshot, sparkline
from .jobs import Job, Worker, Workload
from .sampling import Kept, Member, Sample
from .top_table import holder, rate

__all__ = ["details"]

#: How many jobs are told of each kind.
MOST_JOBS = 10

#: A character for each second.
WIDTH = 60


def details(row: Row, snapshot: Snapshot) -> Iterator[tuple[str, list[str]]]:
    """Yield labels, and the lines that stand beside each.

    Args:
        row: The segment.
        snapshot: When that was.
    """
    sample, now = row.sample, snapshot.now
    yield "path", [f"{printable(sample.path)}, {human_size(sample.size)}"]
    if sample.problem is not None:
        yield "problem", [printable(sample.problem)]
    if sample.kind is None:
        return
    if sample.kind == "region":
        yield "takes part", ["that is not noted for raw bytes; 'samemap stat' says who maps them"]
        return
    yield "state", [printable(sample.state)]
    if sample.counts is not None:
        if row.rates is not None:
            much = f"{rate(row.rates.messages)} messages/s, {human_size(round(row.rates.bytes))} bytes/s"
            drops = f", {rate(row.rates.dropped)} dropped/s" if row.rates.dropped else ""
            yield "rate", [much + drops]
        yield "last 60 s", [sparkline(row.minute, snapshot.moment, WIDTH)]
    yield "takes part", [_attached(sample), *(_member(member, now) for member in sample.members)]
    if sample.report is not None:
        yield from sample.report.lines()
    if sample.workload is not None:
        yield from _work(sample.workload, now)
    yield "held by", [_kept(each, now) for each in sample.kept] or ["nobody"]


def _attached(sample: Sample) -> str:
    return f"{sample.alive} alive of {sample.places} places, {sample.waiting} asleep"


def _member(member: Member, now: float) -> str:
    alive = "" if member.alive else " (died)"
    role = f", {member.role}" if member.role else ""
    waiting = ", waits" if member.waiting else ""
    return printable(f"pid {member.pid}{alive}{role}{waiting}, joined {age(now - member.joined)} ago: {member.command}")


def _kept(each: Kept, now: float) -> str:
    hold = each.hold
    what = f"{each.name}: " if each.name else ""
    amount = f" ×{hold.amount}" if hold.amount > 1 else ""  # noqa: RUF001 - a multiplication sign
    role = f", {hold.role}" if hold.role != "holder" else ""
    dead = "" if hold.alive else f" ({hold.on_death})"
    return printable(f"{what}{holder(hold, now)}{role}{amount}{dead} {hold.command}".rstrip())


def _work(work: Workload, now: float) -> Iterator[tuple[str, list[str]]]:
    counts = f"{work.puts} put, {work.gets} taken, {work.done} done, {work.returned} came back"
    room = f"room for {work.free_jobs} more, and {human_size(work.free_bytes)} of large ones"
    yield "jobs", [f"{work.depth} wait, {work.leased} in hands, {work.held} done and still viewed; {counts}", room]
    yield "workers", [_worker(worker) for worker in work.workers] or ["nobody yet"]
    for label, state in (("leases", "leased"), ("dead", "dead")):
        jobs = list(work.in_state(state))
        told = [_job(job, now) for job in jobs[:MOST_JOBS]]
        more = [f"and {len(jobs) - MOST_JOBS} more"] if len(jobs) > MOST_JOBS else []
        yield label, [*told, *more] or ["none"]


def _worker(worker: Worker) -> str:
    who = "a process that is gone" if worker.pid is None else f"pid {worker.pid}{'' if worker.alive else ' (died)'}"
    counts = f"{worker.puts} put, {worker.gets} taken, {worker.done} done, {worker.returned} given back"
    return printable(f"{who}: {counts} {worker.command}".rstrip())


def _job(job: Job, now: float) -> str:
    attempt = f", attempt {job.attempt}" if job.attempt > 1 else ""
    told = f"job {job.seq}{attempt}, {human_size(job.length)} bytes, put {age(now - job.put)} ago"
    if job.state != "leased":
        return told
    who = "a process that is gone" if job.pid is None else f"pid {job.pid}{'' if job.alive else ' (died)'}"
    left = f", {job.left:.0f} s left" if job.left is not None else ""
    return printable(f"{told}: {who} has it since {age(now - job.taken)}{left} {job.command}".rstrip())
