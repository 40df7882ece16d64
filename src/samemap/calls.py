"""`ServiceObject`: what both ends of a service have in common."""

from __future__ import annotations

from . import codecs, presence
from ._core import Service as Compiled
from .errors import SegmentMismatch
from .replies import Note, ReplyCodec
from .segments import STATE, Coded, called_by_file, fields_of, is_ours
from .workload import ServiceClient, ServiceStats, ServiceWorker, told_apart

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from ._core import Segment
    from .encodings import Codec

__all__ = ["REPLIES", "ServiceObject"]

#: The field of the schema that describes the replies.
REPLIES = "replies"


class ServiceObject(Coded, Compiled):
    """A service, as a server or a client has it open.

    The public classes derive from it; it cannot be made by itself.
    """

    __slots__ = (*STATE, "_codec", "_reply_codec", "_trusted")
    _kind = "Service"
    _reply_codec: Codec
    #: Whether all who can write to the file are trusted, so that what they send may be unpickled.
    _trusted: bool

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        choice, reply_choice, trusted = own or ({}, {}, is_ours(segment))
        called = called_by_file("Service", segment)
        fields = fields_of(segment)
        replies: Any = fields.get(REPLIES)
        if not isinstance(replies, dict):
            raise SegmentMismatch(f"{called} has a damaged schema: remove it (samemap rm) and make it anew")
        codec = codecs.recorded(fields, called, **choice, trusted=trusted)
        reply_codec = codecs.recorded(replies, f"replies of {called}", **reply_choice, trusted=trusted)
        reply_way = codecs.way_of(reply_codec)
        shown = ReplyCodec(reply_codec) if reply_way == "codec" else reply_codec
        thing = Compiled.__new__(cls, segment, codec, codecs.way_of(codec), shown, reply_way)
        for each in (codec, reply_codec):
            if each.size is not None and each.size > thing.max_bytes:
                raise codecs.damaged(called, each.size, thing.max_bytes)
        thing._codec, thing._reply_codec, thing._trusted = codec, reply_codec, trusted
        return thing

    def _note(self, message: bytes) -> Any:
        """Return what to reply with for bytes that are no value."""
        return message if self._reply_codec.name in ("bytes", "pickle") else Note(message)

    # What it is

    @property
    def reply_codec(self) -> str:
        """What replies are, likewise."""
        return self._reply_codec.name

    @property
    def reply_shape(self) -> tuple[int, ...] | None:
        """The shape of replies; ``None`` when they are no arrays."""
        return getattr(self._reply_codec, "shape", None)

    @property
    def reply_dtype(self) -> Any:
        """The dtype of replies; ``None`` when they are no arrays."""
        return getattr(self._reply_codec, "dtype", None)

    def stats(self) -> ServiceStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> from samemap import Service
            >>> with Service(maxsize=10) as service:
            ...     stats = service.stats()
            >>> stats.depth, stats.running, stats.maxsize
            (0, 0, 10)
        """
        *_, held, _, _, free = self._totals()
        leases, orphaned = told_apart(self._leases(), self._segment)
        taken = [(gets, done) for _, _, gets, done, _, _ in self._workers()]
        return ServiceStats(
            depth=self.qsize(),
            running=sum(map(len, leases.values())),
            orphaned=sum(map(len, orphaned.values())),
            held=held,
            requests=sum(gets for gets, _ in taken),
            done=sum(done for _, done in taken),
            maxsize=self.maxsize,
            max_bytes=self.max_bytes,
            free_bytes=free,
            servers=len(self._serving()),
            waiting=self._count_waiting(),
            participants=self._count_participants(),
            shut_down=self.is_shut_down,
        )

    def workers(self) -> list[ServiceWorker]:
        """List the processes that serve, or have served, and what they have in their hands.

        Returns:
            A record each, those that are gone included until another has their place.

        Raises:
            ValueError: It is closed.

        Example:
            >>> import os
            >>> from samemap import Service
            >>> with Service(function=str.upper) as service:
            ...     [(found.participant.pid == os.getpid(), found.serving) for found in service.workers()]
            [(True, True)]
        """
        (leases, orphaned), serving = told_apart(self._leases(), self._segment), self._serving()
        counts = {tag: (gets, done) for tag, _, gets, done, _, _ in self._workers() if tag}
        for someone in self._segment.participants():
            if someone.alive and someone.pid in serving:
                counts.setdefault(someone._tag, (0, 0))
        found = []
        for tag, (gets, done) in counts.items():
            who = self._segment.describe(tag)
            serves = who is not None and who.alive and who.pid in serving
            if gets or serves:
                has, had = (tuple(each.get(tag, ())) for each in (leases, orphaned))
                found.append(ServiceWorker(who, serves, gets, done, has, had))
        return found

    def clients(self) -> list[ServiceClient]:
        """List the processes that have called.

        Returns:
            A record each, those that are gone included until another has their place.

        Raises:
            ValueError: It is closed.

        Example:
            >>> from samemap import Service
            >>> Service().clients()
            []
        """
        return [
            ServiceClient(self._segment.describe(tag), puts, size)
            for tag, puts, gets, _, _, size in self._workers()
            if tag and puts and not gets
        ]

    def _serving(self) -> set[int]:
        """Return the pids of those who serve, as they see themselves."""
        return presence.serving(self._segment.fileno())

    def _roles(self) -> dict[int, str]:
        serving = self._serving()
        roles = {tag: "worker" if gets else "client" for tag, puts, gets, *_ in self._workers() if puts or gets}
        for someone in self._segment.participants():
            if someone.alive and someone.pid in serving:
                roles[someone._tag] = "worker"
        return roles

    def _state(self) -> str:
        asked, given = _told(self._codec), _told(self._reply_codec)
        shut = ", shut down" if self.is_shut_down else ""
        return f"{asked} -> {given}, {self.qsize()} of {self.maxsize} wait, {len(self._serving())} serve{shut}"


def _told(codec: Any) -> str:
    shape = getattr(codec, "shape", None)
    return str(codec.name) if shape is None else f"{codec.dtype}{list(shape)}"
