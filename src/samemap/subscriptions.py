"""`Subscription`: a reader of a topic."""

from __future__ import annotations

import time

from . import aio, encodings, opening
from ._core import Subscription as Compiled
from .errors import SegmentTruncated

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any, NoReturn, Self

    from ._core import Sample

__all__ = ["Subscription"]


class Subscription(Compiled):
    """A reader of a `Topic`, made by `Topic.subscribe`.

    ``for sample in subscription`` and ``async for`` receive until it, or its topic, is closed, and end then: at once
    where that was before. `recv` receives one by one; `get` and `values` give what messages say, without samples.
    `wait` waits for several of them, and for locks and events, at once. Threads may share one: each message goes to one
    of them. A fork's child goes on from where it was forked, as a subscription of its own.

    Args:
        topic: The topic.
        policy: As for `Topic.subscribe`.
        history: As for `Topic.subscribe`.

    Example:
        >>> from samemap import Topic
        >>> with Topic() as topic, topic.subscribe() as subscription:
        ...     topic.publish(b"hello")
        ...     bytes(next(subscription))
        1
        b'hello'
    """

    __slots__ = ()

    def recv_many(self, most: int | None = None, timeout: float | None = None) -> Any:
        """Receive all messages that are there, and wait for one at least.

        Args:
            most: How many at most; as many as the topic has slots when ``None``.
            timeout: Seconds to wait for the first; ``None`` waits for ever, 0 only looks.

        Returns:
            Of a topic of arrays, one array of shape ``(n, *shape)``, a copy; of bytes, a list of them; else a list of
            objects. What was missed meanwhile is counted in ``missed``.

        Raises:
            Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
            ValueError: It is closed, or ``most`` or the timeout makes no sense.

        Example:
            >>> from samemap import Topic
            >>> topic = Topic(shape=(), dtype="f8", slots=16)
            >>> subscription = topic.subscribe("block")
            >>> topic.publish_many([1.5, 2.5, 3.5])
            3
            >>> subscription.recv_many()
            array([1.5, 2.5, 3.5])
        """
        topic = self.topic
        codec: encodings.Codec = topic._codec
        most = topic.slots if most is None else opening.check_number("most", most, 0, opening.MOST)
        if isinstance(codec, encodings.NumpyCodec):
            if not most:
                return codec.empty(0)
            rows, count = self._recv_rows(codec.empty, most, codec.size, timeout)
            return rows[:count]
        if topic._is_raw:
            return self._recv_bytes(most, timeout)
        # Each is released as soon as it is decoded; what is a view of it keeps it by itself.
        return [sample.value for sample in self._recv_samples(most, timeout)]

    async def recv_async(self, timeout: float | None = None) -> Sample:
        """Receive the next message, and wait for it as a task: without holding up the others of its event loop.

        Args:
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            As `recv`.

        Raises:
            Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
            TypeError: Its topic is mapped read-only.
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> from samemap import Topic
            >>> topic = Topic()
            >>> subscription = topic.subscribe()
            >>> topic.publish(b"hello")
            1
            >>> bytes(asyncio.run(subscription.recv_async()))
            b'hello'
        """
        opening.check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while (sample := self.poll()) is None:
            left = timeout if deadline is None else max(0.0, deadline - time.monotonic())
            if not await aio.finished(self, self._begin_wait(), left):
                # Raises what says so.
                return self.recv_nowait()
        return sample

    async def get_async(self, timeout: float | None = None) -> Any:
        """Get what the next message says, and wait for it as a task: without holding up the others of its event loop.

        Args:
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            As `get`.

        Raises:
            Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
            TypeError: Its topic is mapped read-only.
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> from samemap import Topic
            >>> topic = Topic()
            >>> subscription = topic.subscribe()
            >>> topic.publish(b"hello")
            1
            >>> asyncio.run(subscription.get_async())
            b'hello'
        """
        return (await self.recv_async(timeout)).value

    async def __aiter__(self) -> AsyncIterator[Sample]:
        while True:
            try:
                sample = await self.recv_async()
            except ValueError:
                if self.closed:
                    return
                raise
            yield sample

    def __enter__(self) -> Self:
        if self.closed:
            # Raises.
            self.poll()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it: publishers wait for it no more. Samples that were received stay good. Closing twice is fine.

        Threads that wait for a message stop waiting: `recv` raises ``ValueError``, and loops end.

        Example:
            >>> from samemap import Topic
            >>> with Topic().subscribe() as subscription:
            ...     pass
            >>> subscription.closed
            True
        """
        super().close()
        aio.end_waits(self)
        try:
            self.topic._wake()
        except SegmentTruncated:
            # Whoever sleeps there finds that out, too.
            return

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot go to another process: send its topic, and subscribe there")

    def __repr__(self) -> str:
        if self.closed:
            return f"<samemap.Subscription {self.policy!r} to {self.topic!r} closed>"
        return (
            f"<samemap.Subscription {self.policy!r} to {self.topic._called()} "
            f"received={self.received}, missed={self.missed}, lag={self.lag}>"
        )
