"""`Topic`: messages from many to many."""

from __future__ import annotations

import time
from _weakref import ref

from . import aio, codecs, encodings, opening
from ._core import Topic as Compiled
from .segments import STATE, Coded, called_by_file, fields_of
from .subscriptions import Subscription
from .traffic import Publisher, Subscriber, TopicStats

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import socket
    from collections.abc import Iterable, Sequence
    from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack

    from ._core import Loan, Sample, Segment
    from .codecs import Choice
    from .segments import Making, Mode, Name, Options, Plan, Trust

    Policy: TypeAlias = Literal["latest", "drop", "block"]
    WhenFull: TypeAlias = Literal["wait", "raise", "drop"]

    class Room(TypedDict, total=False):
        """How much there is of it."""

        max_message: int | None
        slots: int | None
        max_subscribers: int | None


__all__ = ["Topic"]

SLOTS, MOST_SLOTS = 8, 2**20
#: There can be no more, either.
SUBSCRIBERS = 128


class Topic(Coded, Compiled):
    """Messages from any number of publishers to any number of subscribers, without copies.

    Who publishes waits for nobody, except for those who subscribe with ``"block"``. ``with topic:`` closes it at the
    end. ``Topic(name)`` opens it, or creates it when it is missing; `create` and `open` insist.

    What a message is:

    - with ``shape`` and ``dtype``, a numpy array of these;
    - with ``type``, an object of that type, as msgpack: a ``msgspec.Struct``, a dataclass, and what else msgspec knows;
    - with ``codec="pickle"``, any object; arrays in it travel beside the pickle, and come out as read-only views;
    - else bytes, of any length up to ``max_message``.

    Args:
        name: As for `Lock`.
        shape: Shape of an array; ``()`` for a single number or record.
        dtype: Its dtype, a structured one too.
        type: Type of an object.
        codec: ``"pickle"``; asked for at both ends, because a pickle can run any code.
        max_message: Bytes of the largest message; 65,536 when it is created and nothing says otherwise.
        slots: Messages that there is room for, 2 at least; 8 when it is created and nothing says otherwise. The newest
            stays until there is a newer one, and each pinned one counts.
        max_subscribers: Places for subscriptions, at most 128.
        when_full: What to do when no slot is free, because all are pinned or not yet read: ``"wait"``, ``"raise"``
            (`Full`) or ``"drop"`` the message. It is this handle's own.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`; ``ENOSPC`` when there is no room for its slots.
        SegmentMismatch: The file is something else, or a topic of other messages, which the message compares field by
            field; a ``ValueError``.
        ValueError: It exists, and was made with other numbers.

    Example:
        >>> import numpy as np
        >>> with Topic(shape=(1080, 1920, 3), dtype="u1") as camera:
        ...     subscription = camera.subscribe()
        ...     with camera.loan() as frame:
        ...         frame[:] = 128
        ...     sample = subscription.recv()
        ...     sample.seq, sample.missed, float(sample.array.mean())
        (1, 0, 128.0)
    """

    __slots__ = (*STATE, "_codec", "_is_raw", "_subscriptions")
    _kind = _noun = "Topic"
    _is_raw: bool
    _subscriptions: set[ref[Subscription]]

    def __new__(  # noqa: D102 - the class describes it
        cls,
        name: Name = None,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["pickle"] | None = None,
        max_message: int | None = None,
        slots: int | None = None,
        max_subscribers: int | None = None,
        when_full: WhenFull = "wait",
        **options: Unpack[Options],
    ) -> Self:
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        room: Room = {"max_message": max_message, "slots": slots, "max_subscribers": max_subscribers}
        return cls._make("open-or-create", name, (choice, when_full), cls._plan(choice, room, when_full), **options)

    @classmethod
    def create(
        cls,
        name: Name,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["pickle"] | None = None,
        max_message: int | None = None,
        slots: int | None = None,
        max_subscribers: int | None = None,
        when_full: WhenFull = "wait",
        **options: Unpack[Making],
    ) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for `Lock`.
            shape: As for the class; so are the next six.
            dtype: Dtype of an array.
            type: Type of an object.
            codec: ``"pickle"``.
            max_message: Bytes of the largest message.
            slots: Messages that there is room for.
            max_subscribers: Places for subscriptions.
            when_full: What to do when no slot is free.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The topic.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            ValueError: The arguments make no sense.

        Example:
            >>> Topic.create(None, dtype="f4", shape=3, slots=4).seq
            0
        """
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        room: Room = {"max_message": max_message, "slots": slots, "max_subscribers": max_subscribers}
        return cls._make("create", name, (choice, when_full), cls._plan(choice, room, when_full), **options)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["pickle"] | None = None,
        when_full: WhenFull = "wait",
        wait: float | None = None,
        mode: Mode = "rw",
        **options: Unpack[Trust],
    ) -> Self:
        """Open one that exists, whoever made it.

        Args:
            name: As for the class.
            shape: What it must have; ``None`` takes what there is.
            dtype: What it must have; ``None`` takes what there is.
            type: What to make of its messages, if they are objects of a type; ``None`` makes dicts and lists of them.
            codec: ``"pickle"``, if its messages are pickles.
            when_full: What to do when no slot is free.
            wait: Seconds to wait until it exists; ``math.inf`` for ever.
            mode: ``"rw"``, or ``"r"`` to look only, which needs only the permission to read: subscriptions copy, and
                look every 5 ms.
            options: ``follow_symlinks`` and ``any_owner``, as for `Lock`.

        Returns:
            The topic.

        Raises:
            FileNotFoundError: It does not exist, also after ``wait`` seconds.
            PermissionError: It belongs to another user, or may not be opened in that mode.
            SegmentMismatch: The file is something else, or a topic of other messages, which the message compares field
                by field; a ``ValueError``.

        Example:
            >>> Topic.open("doc-missing", wait=0.01)
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] ...
        """
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        return cls._open(name, (choice, when_full), wait=wait, mode=mode, **options)

    @classmethod
    def _plan(cls, choice: Choice, room: Room, when_full: WhenFull) -> Plan:
        # Before anything is made.
        if when_full not in ("wait", "raise", "drop"):
            raise ValueError(f"when_full is 'wait', 'raise' or 'drop', not {when_full!r}")
        codec, size = codecs.choose(**choice, max_message=room["max_message"])
        slots, subscribers = room["slots"], room["max_subscribers"]
        # The file's schema has no numbers of numpy's, so these are Python's own.
        slots = SLOTS if slots is None else opening.check_number("slots", slots, 2, MOST_SLOTS)
        subscribers = (
            SUBSCRIBERS if subscribers is None else opening.check_number("max_subscribers", subscribers, 0, SUBSCRIBERS)
        )
        fields = {**codec.schema(), "slots": slots, "max_message": size, "max_subscribers": subscribers}
        given = {field: value for field, value in room.items() if value is not None}
        return fields, given, (slots, size, subscribers)

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        choice, when_full = own or ({}, "wait")
        codec = codecs.recorded(fields_of(segment), called_by_file(cls._noun, segment), **choice)
        is_raw = codec.name == "bytes"
        thing = Compiled.__new__(cls, segment, codec, is_raw, when_full)
        if codec.size is not None and codec.size > thing.max_message:
            raise codecs.damaged(called_by_file(cls._noun, segment), codec.size, thing.max_message)
        thing._codec, thing._is_raw, thing._subscriptions = codec, is_raw, set()
        return thing

    @classmethod
    def recv_handle(
        cls,
        sock: socket.socket,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["pickle"] | None = None,
        when_full: WhenFull = "wait",
    ) -> Self:
        """Receive a topic that `send_handle` sent, with the sender's mode.

        Args:
            sock: A connected ``AF_UNIX`` socket; blocks as its timeout says.
            shape: As for `open`; so are the next three.
            dtype: Dtype of an array.
            type: Type of an object.
            codec: ``"pickle"``.
            when_full: What to do when no slot is free.

        Returns:
            The same topic; it lives on when the sender is gone.

        Raises:
            EOFError: The other side closed the socket.
            ValueError: What came is no handle of a topic, or of one of other messages.

        Example:
            >>> import socket
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs, Topic(codec="pickle") as topic:
            ...     topic.send_handle(ours)
            ...     Topic.recv_handle(theirs, codec="pickle").codec
            'pickle'
        """
        return cls._receive(sock, ({"shape": shape, "dtype": dtype, "type": type, "codec": codec}, when_full))

    # Publishing

    def loan(self, size: int | None = None, timeout: float | None = None) -> Loan:
        """Take a slot to fill in place, for a ``with`` block: published at its end, abandoned when it raises.

        What the block gets is an array of the topic's shape and dtype, or a memoryview of bytes; it has what the slot
        had before, so fill all of it. After the block it is read-only, and keeps the slot from being used again while
        it lives.

        Args:
            size: Bytes of the message, in a topic of bytes; ``max_message`` when ``None``.
            timeout: Seconds to wait while no slot is free; ``None`` waits for ever, 0 only looks.

        Returns:
            The loan, a context manager; its ``seq`` is the number of the message once it is published.

        Raises:
            Full: No slot was free in time; the message names who keeps which; a ``queue.Full`` and a ``TimeoutError``.
            TypeError: The topic's messages are no arrays and no bytes, or it is mapped read-only.
            ValueError: It is closed, or ``size`` does not fit.

        Example:
            >>> topic = Topic()
            >>> with topic.loan(5) as place:
            ...     place[:] = b"hello"
            >>> topic.last()[0].value
            b'hello'
        """
        if self._codec.size is None and not self._is_raw:
            raise TypeError(f"{self._called()} takes objects, which cannot be made in place: publish() them")
        if self._codec.size is not None and size is not None:
            raise TypeError(f"{self._called()} takes arrays of {self._codec.size} bytes: loan() takes no size there")
        length = self._codec.size if self._codec.size is not None else self.max_message if size is None else size
        return self._loan(opening.check_number("size", length, 0, opening.MOST), timeout)

    def publish_many(self, values: Iterable[Any], timeout: float | None = None) -> int:
        """Publish many messages; of arrays, with one call for all of them.

        Args:
            values: An array of shape ``(n, *shape)`` for a topic of arrays; else what `publish` takes, in any iterable.
            timeout: Seconds to wait in all while no slot is free; ``None`` waits for ever.

        Returns:
            How many were published: fewer than all when the time was over before, so that ``values[n:]`` are left; or
            when some were dropped, with ``when_full="drop"``.

        Raises:
            Full: Not one could be published in time; or the time was over before the end, and there is no
                ``values[n:]``, as of an iterator. Then ``published`` of the exception says how many were published, and
                ``unpublished`` has the one that was taken in vain: of an iterator,
                ``itertools.chain(full.unpublished, values)`` are left. A ``queue.Full`` and a ``TimeoutError``.
            TypeError: They are not what the topic takes, or it is mapped read-only.
            ValueError: It is closed, or a message does not fit.

        Example:
            >>> import numpy as np
            >>> topic = Topic(dtype=[("x", "f4"), ("y", "f4")], shape=(), slots=64)
            >>> topic.publish_many(np.zeros(50, topic.dtype))
            50
        """
        codec = self._codec
        if isinstance(codec, encodings.NumpyCodec):
            rows, _ = codec.encode_many(values)
            return self._publish_rows(rows, codec.size, timeout)
        opening.check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        is_sequence = hasattr(values, "__getitem__")
        done = 0
        for value in values:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                done += self.publish(value, left) > 0
            except TimeoutError as error:
                from .exhaustion import Full

                if not isinstance(error, Full):
                    # Of what is published, say.
                    raise
                if is_sequence and done:
                    break
                # An iterator does not give it a second time.
                error.published, error.unpublished = done, () if is_sequence else (value,)
                raise
        return done

    async def publish_async(self, value: Any, timeout: float | None = None) -> int:
        """Publish a message, and wait for a slot as a task: without holding up the others of its event loop.

        Args:
            value: As for `publish`.
            timeout: Seconds to wait while no slot is free; ``None`` waits for ever.

        Returns:
            As `publish`.

        Raises:
            Full: No slot was free in time; a ``queue.Full`` and a ``TimeoutError``.
            TypeError: It is not what the topic takes, or the topic is mapped read-only.
            ValueError: It is closed, also meanwhile; or the value does not fit.

        Example:
            >>> import asyncio
            >>> asyncio.run(Topic().publish_async(b"hello"))
            1
        """
        opening.check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self.publish_nowait(value)
            except TimeoutError:
                if self.when_full != "wait":
                    raise
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not await aio.finished(self, self._begin_room(), left):
                    raise

    # Subscribing

    def subscribe(self, policy: Policy = "drop", history: int = 0) -> Subscription:
        """Subscribe: from now on, and to some of the last messages if asked for.

        Args:
            policy: How to be treated when one cannot follow: with ``"latest"``, get the newest message each time, and
                skip the others; with ``"drop"``, get every message, but those that had to make room; with ``"block"``,
                get every message: publishers wait, for as long as this process lives. ``sample.missed`` counts
                exactly.
            history: How many of the last messages to begin with, as far as they are there.

        Returns:
            The subscription, which ends when it or the topic is closed.

        Raises:
            TypeError: ``"block"``, and the topic is mapped read-only.
            ValueError: It is closed, or an argument makes no sense; or all places are taken.

        Example:
            >>> topic = Topic()
            >>> topic.publish(b"before")
            1
            >>> topic.subscribe(history=3).recv().value
            b'before'
        """
        if history < 0:
            raise ValueError(f"history is a number of messages, 0 or more, not {history}")
        subscription = Subscription(self, policy, min(history, 2**63))
        # One step each, so that threads need no lock.
        self._subscriptions.add(ref(subscription, self._subscriptions.discard))
        if self.closed:
            # By another thread, which may have looked before.
            subscription.close()
        return subscription

    def last(self, n: int | None = None) -> list[Sample]:
        """Return the last messages that are still there, as copies, the oldest first.

        It works on a topic that is mapped read-only, and also when all who took part have died: a flight recorder.

        Args:
            n: How many at most; all when ``None``.

        Returns:
            The samples; there may be gaps between their numbers, where a message had to make room.

        Raises:
            ValueError: It is closed, or ``n`` is negative.

        Example:
            >>> topic = Topic()
            >>> [topic.publish(word) for word in (b"a", b"b", b"c")]
            [1, 2, 3]
            >>> [sample.value for sample in topic.last(2)]
            [b'b', b'c']
        """
        if n is not None and n < 0:
            raise ValueError(f"n is a number of messages, 0 or more, not {n}")
        return self._last(2**63 if n is None else min(n, 2**63))

    def wait_for_subscribers(self, n: int = 1, timeout: float | None = None) -> bool:
        """Sleep until there are so many subscriptions.

        Args:
            n: How many, of living processes, this one included.
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            True when they are there; False after the timeout.

        Raises:
            TypeError: It is mapped read-only.
            ValueError: It is closed, or ``n`` or the timeout makes no sense.

        Example:
            >>> Topic().wait_for_subscribers(timeout=0.01)
            False
        """
        return self._wait_for_subscribers(opening.check_number("n", max(0, n), 0, opening.MOST), timeout)

    async def wait_for_subscribers_async(self, n: int = 1, timeout: float | None = None) -> bool:
        """Sleep until there are so many subscriptions, as a task.

        Args:
            n: How many, of living processes, this one included.
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            True when they are there; False after the timeout.

        Raises:
            TypeError: It is mapped read-only.
            ValueError: It is closed, also meanwhile; or ``n`` or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> asyncio.run(Topic().wait_for_subscribers_async(timeout=0.01))
            False
        """
        pending = self._begin_audience(opening.check_number("n", max(0, n), 0, opening.MOST))
        return await aio.finished(self, pending, timeout)

    # What it is

    def subscribers(self) -> list[Subscriber]:
        """List the subscriptions, of all processes.

        Returns:
            A record each, those of the dead included until somebody needs what they had.

        Raises:
            ValueError: It is closed.

        Example:
            >>> topic = Topic()
            >>> subscription = topic.subscribe("latest")
            >>> [(found.policy, found.lag, found.alive) for found in topic.subscribers()]
            [('latest', 0, True)]
        """
        newest = self.seq
        return [
            Subscriber(*self._who(tag), policy, max(0, newest + 1 - cursor), *counts, joined / 1e9, tuple(delays))
            for tag, policy, cursor, *counts, joined, delays in self._subscribers()
        ]

    def publishers(self) -> list[Publisher]:
        """List the processes that have published.

        Returns:
            A record each, those that are gone included until another has their place.

        Raises:
            ValueError: It is closed.

        Example:
            >>> topic = Topic()
            >>> topic.publish(b"hello")
            1
            >>> [(found.messages, found.bytes, found.alive) for found in topic.publishers()]
            [(1, 5, True)]
        """
        return [Publisher(*self._who(tag), *own, last / 1e9) for tag, own, _, last in self._publishers()]

    def _who(self, tag: int) -> tuple[int | None, str | None, bool]:
        found = self._segment.describe(tag)
        return (None, None, False) if found is None else (found.pid, found.command, found.alive)

    def stats(self) -> TopicStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> topic = Topic(slots=4)
            >>> topic.publish(b"hello")
            1
            >>> stats = topic.stats()
            >>> stats.messages, stats.bytes, stats.slots, stats.pinned
            (1, 5, 4, 0)
        """
        loaned, pinned = self._counts()
        published = [everything for _, _, everything, _ in self._publishers()]
        _, size, dropped = (sum(column) for column in zip(*published, strict=True)) if published else (0, 0, 0)
        living = sum(found.alive and found.policy != "ended" for found in self.subscribers())
        waiting, participants = self._count_waiting(), self._count_participants()
        return TopicStats(self.seq, size, dropped, self.slots, loaned, pinned, living, waiting, participants)

    def _roles(self) -> dict[int, str]:
        roles = dict.fromkeys((tag for tag, own, _, _ in self._publishers() if own[0]), "publisher")
        for tag, *_ in self._subscribers():
            roles[tag] = "both" if tag in roles else "subscriber"
        return roles

    def _state(self) -> str:
        what = f"{self.dtype}{list(self.shape)}" if self.shape is not None else self.codec
        return f"{what}, slots={self.slots}, seq={self.seq}"

    def close(self) -> None:
        """Close it, and its subscriptions; samples and views stay good. Coded twice is fine.

        Example:
            >>> topic = Topic()
            >>> topic.close()
            >>> topic.closed
            True
        """
        # First, so that whoever subscribes meanwhile either finds it closed or is found here.
        super().close()
        for found in list(self._subscriptions):
            if (subscription := found()) is not None:
                subscription.close()
