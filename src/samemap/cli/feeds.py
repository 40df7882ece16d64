"""The messages of a topic, or the changes of a newest value, one after the other."""

from __future__ import annotations

import errno
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

from .._core import Sample
from ..exhaustion import Empty
from ..latest import Latest
from ..names import resolve
from ..topics import Topic
from .channels import is_in_place, watch
from .display import listener_gone
from .parameters import Trust

if TYPE_CHECKING:
    from types import TracebackType

    from ..subscriptions import Subscription
    from ..topics import Policy

__all__ = ["Feed", "follow", "open_channel"]

#: How often whoever waits for a message looks whether anybody still reads its output, and whether another file has
#: the name by now.
LOOK = 0.2

#: More messages than a topic has.
ALL = 1 << 40


def open_channel(
    name: str, trust: Trust, wait: float | None = None, mode: Literal["r", "rw", "any"] = "any"
) -> Topic | Latest:
    """Open what there is: a topic or a newest value, with what messages ever.

    Args:
        name: As its user calls it.
        trust: Which files may be opened.
        wait: Seconds to wait until it exists.
        mode: As for `Topic.open`; ``"any"`` is ``"r"`` where the file may only be read.

    Returns:
        It. What is pickled is not unpickled, unless somebody asks for a sample's value.

    Raises:
        OSError: It is missing, or cannot be opened.
        ValueError: It is something else, or what its messages need is not installed.
    """
    with watch(name, trust, wait) as seen:
        kind: type[Topic | Latest] = Topic if seen.kind == "Topic" else Latest
        codec: Literal["pickle"] | None = "pickle" if seen.schema().get("codec") == "pickle" else None

    def opened(mode: Literal["r", "rw"]) -> Topic | Latest:
        return kind.open(name, codec=codec, mode=mode, **trust)

    try:
        try:
            return opened("r" if mode == "r" else "rw")
        except OSError as error:
            if mode != "any" or error.errno not in (errno.EACCES, errno.EROFS):
                raise
            return opened("r")
    except ModuleNotFoundError as error:
        raise ValueError(f"{resolve(name)}: {error}") from error


class Feed:
    """Reads a topic or a newest value; it goes over to another file that gets the name.

    Args:
        name: As its user calls it.
        trust: Which files may be opened.
        policy: As for `Topic.subscribe`; a newest value has none.
        history: As for `Topic.subscribe`; a newest value begins with the present one.
        wait: Seconds to wait until it exists.
        mode: As for `open_channel`.

    Attributes:
        channel: What is read now.
        missed: How many messages were lost just before the last one.
    """

    def __init__(
        self,
        name: str,
        trust: Trust,
        *,
        policy: Policy = "drop",
        history: int = 0,
        wait: float | None = None,
        mode: Literal["r", "any"] = "any",
    ) -> None:
        self._name, self._trust, self._policy, self._mode = name, trust, policy, mode
        self._path = resolve(name)
        self.missed = 0
        self.channel: Topic | Latest = open_channel(name, trust, wait, mode)
        self._begin(history)

    def _begin(self, history: int) -> None:
        self._subscription: Subscription | None = None
        self._seen = 0
        try:
            if isinstance(self.channel, Topic):
                if self._policy == "block" and self.is_read_only:
                    raise PermissionError(
                        errno.EACCES,
                        "it may only be read, and publishers wait for those only who may write",
                        self._path,
                    )
                self._subscription = self.channel.subscribe(self._policy, history)
        except BaseException:
            self.channel.close()
            raise

    @property
    def is_read_only(self) -> bool:
        """Whether the file may only be read, so that it looks every few milliseconds, and no table lists it."""
        return self.channel.mode == "r"

    def next(self, timeout: float) -> Sample | None:
        """Return the next message; ``None`` after the timeout.

        Args:
            timeout: Seconds.

        Raises:
            OSError: The file is cut.
        """
        if self._subscription is not None:
            try:
                sample = self._subscription.recv(timeout)
            except Empty:
                return None
            self.missed = sample.missed
            return sample
        found: Sample | None = self.channel._newer(self._seen, timeout)  # type: ignore[union-attr] # a Latest
        if found is not None:
            self.missed = found.seq - self._seen - 1 if self._seen else 0
            self._seen = found.seq
        return found

    def renew(self) -> None:
        """Go over to the file that has the name now, if that is another one."""
        if is_in_place(self._path, self.channel):
            return
        try:
            other = open_channel(self._name, self._trust, None, self._mode)
        except FileNotFoundError:
            return  # removed again
        self.channel.close()
        self.channel = other
        # All that was published there is new here.
        self._begin(ALL)

    def close(self) -> None:
        """Unsubscribe, and close it."""
        self.channel.close()

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def follow(feed: Feed, timeout: float | None) -> Generator[Sample, None, None]:
    """Yield messages as they come.

    Args:
        feed: Where from.
        timeout: Seconds without a message after which to give up.

    Raises:
        TimeoutError: There was none for so long.
        BrokenPipeError: Nobody reads standard output any more.
    """
    since = time.monotonic()
    while True:
        left = LOOK if timeout is None else max(0.0, min(LOOK, since + timeout - time.monotonic()))
        sample = feed.next(left)
        if sample is not None:
            yield sample
            since = time.monotonic()
        elif listener_gone():
            raise BrokenPipeError
        elif timeout is not None and time.monotonic() >= since + timeout:
            raise TimeoutError(
                errno.ETIMEDOUT,
                f"nothing came for {timeout:g} s; 'samemap stat' tells who publishes",
                _path(feed),
            )
        else:
            feed.renew()


def _path(feed: Feed) -> Any:
    return str(feed.channel.path)
