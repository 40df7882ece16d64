"""The request that a handler works on, as it can ask for it."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar

from . import loans
from .exhaustion import LeaseLost

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Protocol, TypeAlias

    from ._core import Participant, Pending, Request
    from .encodings import Codec

    Handler: TypeAlias = Callable[[Any], Any]

    class Serviced(Protocol):
        """What requests come from."""

        @property
        def closed(self) -> bool:
            """Whether it was closed."""

        def _take(self, timeout: float | None) -> Request: ...
        def _begin_take(self) -> Pending[None]: ...
        def _note(self, message: bytes) -> Any: ...
        def _descriptor(self) -> int: ...
        def _called(self) -> str: ...

        @property
        def _reply_codec(self) -> Codec: ...


__all__ = ["CurrentRequest", "current", "current_request", "end"]


class CurrentRequest:
    """What a handler can know of the call that it works on.

    Args:
        request: It; ``None`` when the handler was called directly.
        service: Where it came from.
    """

    __slots__ = ("_request", "_service")

    def __init__(self, request: Request | None, service: Serviced | None = None) -> None:
        self._request = request
        self._service = service

    def loan(
        self,
        size: int | None = None,
        timeout: float | None = None,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> AbstractContextManager[Any]:
        """Take a place for the reply to fill, for a ``with`` block: return or yield it, and it is not copied.

        What the block gets is an array, or a memoryview of bytes; it has what was there before, so fill all of it, and
        then return or yield it, itself and no view of it. It is read-only once it was sent. What was not sent is
        abandoned when the block raises, or when the request is over. In a direct call it is memory of this process.

        Args:
            size: Bytes of the reply, where replies are bytes or pickles.
            timeout: Seconds to wait for a place; ``None`` waits for ever, 0 only looks. Asynchronous handlers should
                not wait here, because that stops the others.
            shape: Shape of an array, where replies are pickles; where they are arrays it is known.
            dtype: Its dtype, likewise.

        Returns:
            The loan, a context manager.

        Raises:
            Full: There was no room in time; a ``queue.Full`` and a ``TimeoutError``.
            TypeError: Replies here are objects of a type, or what is lent must be said otherwise.
            ValueError: Such a reply does not fit.

        Example:
            >>> import numpy as np
            >>> from samemap import Client, Service
            >>> from samemap.services import current_request
            >>> def halves(image):
            ...     with current_request().loan() as half:
            ...         return np.floor_divide(image, 2, out=half)
            >>> service = Service(
            ...     "doc-reply", halves, shape=4, dtype="u1", reply_shape=4, reply_dtype="u1"
            ... )
            >>> with service, Client("doc-reply") as client:
            ...     client.call([2, 4, 6, 8])
            ...     service.unlink()
            array([1, 2, 3, 4], dtype=uint8)
        """
        if self._request is None or self._service is None:
            return loans.private(size, shape, dtype)
        lent = loans.lendable(self._service._reply_codec, self._service._called, size, shape, dtype)
        return self._request._loan(*lent, timeout)

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for a reply any more: the caller gave up, or died."""
        return self._request is not None and self._request.cancelled

    @property
    def seq(self) -> int:
        """The number of the request; 0 in a direct call."""
        return 0 if self._request is None else self._request.seq

    @property
    def age(self) -> float:
        """How many seconds ago the call was made."""
        return 0.0 if self._request is None else self._request.age

    @property
    def client(self) -> Participant | None:
        """The process that calls; ``None`` where that is not known any more."""
        return None if self._request is None else self._request.producer


_DIRECT = CurrentRequest(None)
#: For those who serve, to set.
current: ContextVar[CurrentRequest] = ContextVar("samemap-request", default=_DIRECT)


def current_request() -> CurrentRequest:
    """Return the request that this thread or task works on, for handlers that want to know.

    Example:
        >>> current_request().cancelled
        False
    """
    return current.get()


def end(request: Request) -> None:
    """End a request; its reply was sent, or nobody waits for one."""
    # Its caller may have ended it, or this process's handle was closed.
    with suppress(LeaseLost, ValueError):
        request.done()
