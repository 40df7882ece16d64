"""What children do with the queues that they are given. A module of its own: spawned children import it by name."""

from __future__ import annotations

from typing import Any

from kinds import same

from samemap import Event, Queue


def echo(jobs: dict[str, Queue], results: dict[str, Queue], messages: dict[str, Any], ready: Event) -> None:
    """Take one job of each queue, and put it into another."""
    ready.set()
    for kind, queue in jobs.items():
        with queue.lease(60) as job:
            assert same(job.value, messages[kind]), kind
            results[kind].put(job.value)


def square(jobs: Queue, results: Queue) -> None:
    """Square numbers until there are no more."""
    for number in jobs:
        results.put(number**2)
        jobs.task_done()
