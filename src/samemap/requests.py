"""The request that a handler works on, as it can ask for it."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar

from .exhaustion import LeaseLost

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeAlias

    from ._core import Participant, Pending, Request

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


__all__ = ["CurrentRequest", "current", "current_request", "end"]


class CurrentRequest:
    """What a handler can know of the call that it works on.

    Args:
        request: It; ``None`` when the handler was called directly.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Request | None) -> None:
        self._request = request

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
