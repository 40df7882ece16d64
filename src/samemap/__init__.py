"""Memory that processes on one Linux machine share, and locks that survive their holders.

The floors, from the ground up; imports run downwards only:

- ``samemap._core``: the compiled half: mapped bytes, atomics, futex waits, the bus-error guard, rosters, locks.
- ``samemap.names``: where a name lives.
- ``samemap.files``: the file behind a descriptor.
- ``samemap.holders``: which processes map a file.
- ``samemap.arrays``: numpy arrays over shared bytes.
- ``samemap.handles``: descriptors that travel over sockets.
- ``samemap.opening``: what all constructors check.
- ``samemap.records``: what objects tell about themselves.
- ``samemap.brokenbarrier``, ``samemap.exhaustion``: errors by themselves, because their base classes are costly to
  import.
- ``samemap.failures``: errors on their way from a handler to its caller.
- ``samemap.presence``: who serves.
- ``samemap.errors``: what is raised beside Python's own errors.
- ``samemap.dtypes``, ``samemap.typeinfo``, ``samemap.pickles``, ``samemap.fitting``, ``samemap.encodings``,
  ``samemap.codecs``, ``samemap.replies``: how objects become bytes and come back.
- ``samemap.loans``: what is lent of a queue or a service.
- ``samemap.traffic``, ``samemap.workload``: what topics, queues and services tell of themselves.
- ``samemap.travel``: how objects go to other processes.
- ``samemap.departure``: leaving rosters when the process ends.
- ``samemap.aio``: waiting in asyncio, on one thread.
- ``samemap.region``: `Region`, raw shared bytes.
- ``samemap.segments``: what all objects in segments have in common.
- ``samemap.requests``: what a handler can know of its call.
- ``samemap.tasks``, ``samemap.serving``, ``samemap.crew``: the event loops, threads and processes that serve.
- ``samemap.calls``: what both ends of a service have in common.
- ``samemap.ownership``: what all locks have in common.
- ``samemap.locks``, ``samemap.readwritelock``, ``samemap.semaphores``, ``samemap.events``, ``samemap.barriers``,
  ``samemap.counters``: an object or two each.
- ``samemap.subscriptions``, ``samemap.topics``: `Topic`, messages from many to many, and who reads them.
- ``samemap.latest``: `Latest`, the newest value.
- ``samemap.queues``: `Queue`, each job to one worker.
- ``samemap.services``, ``samemap.clients``: `Service`, a function that other processes call, and who calls it.
- ``samemap.parcels``, ``samemap.poolworker``, ``samemap.pools``, ``samemap.executors``: `ProcessPoolExecutor`, and what
  its workers do.
- ``samemap.waiting``: waiting for several of them.
- ``samemap.conditions``: `Condition`, which has a lock.
- ``samemap.namespaces``: `Namespace`, many objects in one file.
- ``samemap.cli``: the ``samemap`` command.
"""

from ._core import PAGE_SIZE, Loan, Participant, Sample, __version__
from .barriers import Barrier, BarrierStats
from .conditions import Condition, ConditionStats
from .counters import Counter, CounterStats
from .errors import AcquireTimeout, OwnerDied, SegmentMismatch, SegmentTruncated
from .events import Event, EventStats
from .locks import Lock, LockStats, RLock
from .namespaces import Namespace, NamespaceStats
from .readwritelock import ReadWriteLock, ReadWriteLockStats
from .records import Holder, Share
from .region import Region, RegionStats
from .semaphores import BoundedSemaphore, Semaphore, SemaphoreStats
from .waiting import wait, wait_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._core import DeadLetter, Job
    from .clients import AsyncClient, Client
    from .errors import BrokenBarrierError, Empty, Full, LeaseLost, PeerDied, ShutDown
    from .executors import ProcessPoolExecutor, WorkerDied
    from .failures import RemoteError
    from .latest import Latest, LatestStats
    from .queues import Queue
    from .services import Service, serve
    from .subscriptions import Subscription
    from .topics import Topic
    from .traffic import Publisher, Subscriber, TopicStats
    from .workload import Lease, QueueStats, ServiceClient, ServiceStats, ServiceWorker, Worker

__all__ = [
    "PAGE_SIZE",
    "AcquireTimeout",
    "AsyncClient",
    "Barrier",
    "BarrierStats",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Client",
    "Condition",
    "ConditionStats",
    "Counter",
    "CounterStats",
    "DeadLetter",
    "Empty",
    "Event",
    "EventStats",
    "Full",
    "Holder",
    "Job",
    "Latest",
    "LatestStats",
    "Lease",
    "LeaseLost",
    "Loan",
    "Lock",
    "LockStats",
    "Namespace",
    "NamespaceStats",
    "OwnerDied",
    "Participant",
    "PeerDied",
    "ProcessPoolExecutor",
    "Publisher",
    "Queue",
    "QueueStats",
    "RLock",
    "ReadWriteLock",
    "ReadWriteLockStats",
    "Region",
    "RegionStats",
    "RemoteError",
    "Sample",
    "SegmentMismatch",
    "SegmentTruncated",
    "Semaphore",
    "SemaphoreStats",
    "Service",
    "ServiceClient",
    "ServiceStats",
    "ServiceWorker",
    "Share",
    "ShutDown",
    "Subscriber",
    "Subscription",
    "Topic",
    "TopicStats",
    "Worker",
    "WorkerDied",
    "__version__",
    "serve",
    "wait",
    "wait_async",
]


#: What is imported only when somebody asks for it, and from where: errors that import threading, and topics, queues and
#: services, with their codecs, which cost as much as all of the lock family.
_LATER = {
    "AsyncClient": "clients",
    "BrokenBarrierError": "errors",
    "Client": "clients",
    "DeadLetter": "_core",
    "Empty": "errors",
    "Full": "errors",
    "Job": "_core",
    "Latest": "latest",
    "LatestStats": "latest",
    "Lease": "workload",
    "LeaseLost": "errors",
    "PeerDied": "errors",
    "ProcessPoolExecutor": "executors",
    "Publisher": "traffic",
    "Queue": "queues",
    "QueueStats": "workload",
    "RemoteError": "failures",
    "Service": "services",
    "ServiceClient": "workload",
    "ServiceStats": "workload",
    "ServiceWorker": "workload",
    "ShutDown": "errors",
    "Subscriber": "traffic",
    "Subscription": "subscriptions",
    "Topic": "topics",
    "TopicStats": "traffic",
    "Worker": "workload",
    "serve": "services",
    "WorkerDied": "executors",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
