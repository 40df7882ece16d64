"""`Counter`: an integer that processes count together."""

from __future__ import annotations

import operator

from . import aio
from ._core import Counter as Compiled
from .records import Record
from .segments import STATE, Closing

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Self, TypeAlias, Unpack

    from ._core import Segment
    from .segments import Making, Name, Options, Plan

    Comparison: TypeAlias = Literal[">=", "<=", "==", "!="]

__all__ = ["Counter", "CounterStats"]


class CounterStats(Record):
    """What is known of a counter, at one moment.

    Attributes:
        value: The value.
        waiting: How many threads and tasks sleep for a value.
        participants: How many living processes have it open for more than looking.
    """

    value: int
    waiting: int
    participants: int


class Counter(Closing, Compiled):
    """A signed 64-bit integer that processes change together; each change is one step, and none is lost.

    ``with counter:`` closes it at the end. ``Counter(name)`` opens it, or creates it when it is missing; `create` and
    `open` insist.

    Args:
        name: As for `Lock`.
        value: What it starts with; 0 when it is created and none is given. One that exists must have been made with the
            same; ``None`` takes it as it is.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else; a ``ValueError``.
        OverflowError: ``value`` does not fit into 64 bits.
        ValueError: It exists, and was made with another value.

    Example:
        >>> with Counter() as hits:
        ...     hits.add(), hits.add(10), int(hits)
        (1, 11, 11)
    """

    __slots__ = STATE
    _kind = _noun = "Counter"

    def __new__(  # noqa: D102 - the class describes it
        cls, name: Name = None, value: int | None = None, **options: Unpack[Options]
    ) -> Self:
        return cls._make("open-or-create", name, (), cls._plan(value), **options)

    @classmethod
    def create(cls, name: Name, value: int = 0, **options: Unpack[Making]) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for `Lock`.
            value: What it starts with.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The counter.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            OverflowError: ``value`` does not fit into 64 bits.

        Example:
            >>> Counter.create(None, 7).value
            7
        """
        return cls._make("create", name, (), cls._plan(value), **options)

    @classmethod
    def _plan(cls, value: int | None) -> Plan:
        start = operator.index(0 if value is None else value)
        if not -(2**63) <= start < 2**63:
            raise OverflowError(f"a counter is at least -2**63, and less than 2**63, as {start} is not")
        return {"value": start}, {} if value is None else {"value": start}, (start, 0, 0)

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        return Compiled.__new__(cls, segment, offset)

    def sub(self, n: int = 1) -> int:
        """Take away, atomically.

        Args:
            n: How much; a negative number adds.

        Returns:
            The value after it.

        Raises:
            OverflowError: The difference does not fit into 64 bits; nothing has changed.
            TypeError: It is mapped read-only.
            ValueError: It is closed.

        Example:
            >>> Counter(value=10).sub(3)
            7
        """
        return self.add(-n)

    def wait_until(self, value: int, op: Comparison = ">=", timeout: float | None = None) -> int | None:
        """Sleep until the counter compares with a value as asked.

        Args:
            value: What to compare with.
            op: ``">="``, ``"<="``, ``"=="`` or ``"!="``, with the counter on the left. A value that the counter has
                only for a moment may be missed.
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            The value that did; ``None`` after the timeout.

        Raises:
            KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
            SegmentTruncated: Somebody truncated the file.
            ValueError: It is closed, also by another thread meanwhile; or an argument makes no sense.

        Example:
            >>> with Counter(value=3) as done:
            ...     done.wait_until(2), done.wait_until(4, timeout=0.01)
            (3, None)
        """
        return self._wait_until(op, value, timeout)

    async def wait_until_async(self, value: int, op: Comparison = ">=", timeout: float | None = None) -> int | None:
        """Sleep until the counter compares with a value as asked, as a task.

        Args:
            value: What to compare with.
            op: As for `wait_until`.
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            The value that did; ``None`` after the timeout.

        Raises:
            ValueError: It is closed, also meanwhile; or an argument makes no sense.

        Example:
            >>> import asyncio
            >>> asyncio.run(Counter(value=3).wait_until_async(3, "=="))
            3
        """
        pending = self._begin_wait_until(op, value)
        return pending.result() if await aio.finished(self, pending, timeout) else None

    def __int__(self) -> int:
        return self.value

    def stats(self) -> CounterStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> Counter(value=3).stats()
            CounterStats(value=3, waiting=0, participants=1)
        """
        return CounterStats(self.value, self._count_waiting(), self._count_participants())

    def _state(self) -> str:
        return f"value={self.value}"
