"""What ``samemap stat`` tells of a topic or a newest value."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .._core import Segment
from ..traffic import Publisher, Subscriber, TopicStats
from .channels import Watched
from .display import age, human_size, iso_time, printable

__all__ = ["Report"]


class Report(NamedTuple):
    """What is known of it at one moment.

    Attributes:
        kind: ``"Topic"`` or ``"Latest"``.
        schema: What its maker said of it.
        stats: Its counts.
        publishers: Who has published.
        subscribers: Who subscribes.
        now: When that was, in seconds since 1970.
    """

    kind: str
    schema: Mapping[str, Any]
    stats: TopicStats
    publishers: tuple[Publisher, ...]
    subscribers: tuple[Subscriber, ...]
    now: float

    @classmethod
    def of(cls, segment: Segment) -> Report:
        """Look at a segment that holds one; nobody joins or subscribes.

        Args:
            segment: It, open; it is closed afterwards.

        Raises:
            ValueError: It is damaged.
        """
        with Watched.over(segment) as seen:
            publishers, subscribers = tuple(seen.publishers()), tuple(seen.subscribers())
            return cls(seen.kind, seen.schema(), seen.stats(), publishers, subscribers, time.time())

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        stats = dict(vars(self.stats))
        # The lists tell these.
        del stats["subscribers"]
        publishers = [
            {**vars(found), "last": iso_time(found.last) if found.last else None} for found in self.publishers
        ]
        subscribers = [
            {**vars(found), "joined": iso_time(found.joined), "delays": list(found.delays)}
            for found in self.subscribers
        ]
        return {"schema": dict(self.schema), **stats, "publishers": publishers, "subscribers": subscribers}

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        """Yield labels, and the lines that stand beside each."""
        stats, schema = self.stats, self.schema
        yield "messages", [printable(told(schema))]
        room = schema.get("max_message", schema.get("max_size"))
        of_size = f" of {human_size(room)}" if isinstance(room, int) else ""
        # A newest value is kept in slots too, which are nobody's business.
        if self.kind == "Topic":
            yield "slots", [f"{stats.slots}{of_size}: {stats.pinned} pinned, {stats.loaned} being filled"]
        yield "published", [self._published()]
        yield "publishers", [*map(self._publisher, self.publishers)] or ["nobody yet"]
        if self.kind == "Topic":
            yield "subscribed", [*map(self._subscriber, self.subscribers)] or ["nobody"]

    def _published(self) -> str:
        stats = self.stats
        if not stats.messages:
            return "nothing yet"
        newest = max((found.last for found in self.publishers), default=0.0)
        when = f"; the newest is {age(self.now - newest)} old" if newest else ""
        drops = f"; {stats.dropped} dropped for want of a slot" if stats.dropped else ""
        size = human_size(stats.bytes)
        unit = " bytes" if size.isdigit() else ""
        what = "1 message" if stats.messages == 1 else f"{stats.messages} messages"
        return f"{what}, {size}{unit} in all{when}{drops}"

    def _publisher(self, found: Publisher) -> str:
        drops = f", {found.dropped} dropped" if found.dropped else ""
        when = f", the last {age(self.now - found.last)} ago" if found.last else ""
        return f"{_who(found)}: {found.messages} messages, {human_size(found.bytes)}{drops}{when}"

    def _subscriber(self, found: Subscriber) -> str:
        pins = f", {found.pins} pinned" if found.pins else ""
        counted = f"{found.received} received, {found.missed} missed, {found.lag} behind{pins}"
        return f"{_who(found)}: {found.policy}, {counted}, since {age(self.now - found.joined)}"


def told(schema: Mapping[str, Any]) -> str:
    """Return what messages are, in words.

    Args:
        schema: What the file says; nothing in it is trusted.

    Example:
        >>> told({"codec": "numpy", "shape": [480, 640], "dtype": "|u1"})
        'arrays of shape (480, 640) and dtype |u1'
        >>> told({"codec": "numpy", "shape": [], "dtype": {"fields": [["x", "<f4", 0], ["y", "<f4", 4]], "size": 8}})
        'records of x <f4, y <f4'
        >>> told({"codec": "msgspec", "type": "Pose", "types": {"Pose": {"x": "float", "y": "float"}}})
        'of type Pose (x: float, y: float)'
        >>> told({"codec": "bytes"})
        'bytes'
    """
    codec = schema.get("codec")
    try:
        if codec == "numpy":
            return _told_of_arrays(schema["shape"], schema["dtype"])
        if codec == "msgspec":
            name, types = str(schema["type"]), dict(schema["types"])
            fields = ", ".join(f"{field}: {kind}" for field, kind in dict(types.get(name, {})).items())
            return f"of type {name} ({fields})" if fields else f"of type {name}"
    except (KeyError, TypeError, ValueError):
        return f"of codec {codec!r}, with a damaged description"
    return {"bytes": "bytes", "pickle": "pickles"}.get(str(codec), f"of codec {codec!r}")


def _told_of_arrays(shape: Any, dtype: Any) -> str:
    axes = tuple(int(n) for n in shape)
    if isinstance(dtype, dict):
        fields = ", ".join(map(_told_of_field, dtype["fields"]))
        return f"arrays of shape {axes} of records of {fields}" if axes else f"records of {fields}"
    return f"arrays of shape {axes} and dtype {dtype}" if axes else f"single numbers of dtype {dtype}"


def _told_of_field(field: Any) -> str:
    name, kind, _, *shape = field
    axes = f" ({', '.join(map(str, shape[0]))})" if shape else ""
    return f"{name} {kind if isinstance(kind, str) else 'record'}{axes}"


def _who(found: Publisher | Subscriber) -> str:
    if found.pid is None:
        return "a process that is gone"
    # A publisher that left stays in the table as long as nobody has its place.
    return printable(f"pid {found.pid}{'' if found.alive else ' (gone)'} {found.command}")
