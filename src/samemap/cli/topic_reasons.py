"""Why somebody waits for a topic or a newest value, in words; each function looks at what it is given only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..traffic import Publisher
from .display import age
from .observe import UNREAD, Hold
from .reasons import Keeper, Reason, Scene, Sleeper, cure_for
from .topic_report import Report

__all__ = ["AUDIENCE", "MESSAGE", "ROOM", "TopicScene", "awaited", "reasons_of_topics"]

#: What somebody waits for.
MESSAGE, ROOM, AUDIENCE = "a message", "a free slot", "more subscriptions"

# docs/format.md, "Topic": the bells, as bytes from its start.
_NEWS, _ROOM = range(128, 192), range(192, 256)


class TopicScene(NamedTuple):
    """What is looked at.

    Attributes:
        scene: The topic, and who is around.
        report: Its counts, publishers and subscribers.
        awaits: What each of those waits for who sleep; in the order of ``scene.sight.waiters``.
        is_full: Whether a publisher finds no slot.
        filling: Who fills slots.
    """

    scene: Scene
    report: Report
    awaits: tuple[str, ...]
    is_full: bool
    filling: tuple[Hold, ...]


def awaited(bells: frozenset[int] | None, is_subscribed: bool, is_publisher: bool, is_full: bool, kind: str) -> str:
    """Tell what somebody waits for.

    Args:
        bells: Where it sleeps, as bytes from the start of the topic, if the kernel tells.
        is_subscribed: Whether it has a subscription.
        is_publisher: Whether it has published.
        is_full: Whether a publisher finds no slot.
        kind: ``"Topic"`` or ``"Latest"``.

    Example:
        >>> awaited(frozenset({128}), False, True, True, "Topic"), awaited(None, False, True, True, "Topic")
        ('a message', 'a free slot')
    """
    if kind == "Latest":
        # Nobody waits to set one, and nobody subscribes.
        return MESSAGE
    if bells and any(bell in _NEWS for bell in bells):
        return MESSAGE
    is_sure = bells is not None and any(bell in _ROOM for bell in bells)
    if is_subscribed and not is_sure and not (is_publisher and is_full):
        return MESSAGE
    return ROOM if is_full else AUDIENCE


def reasons_of_topics(topic: TopicScene) -> Iterator[Reason]:
    """Tell why some wait.

    Args:
        topic: What was seen.

    Yields:
        A reason for each thing that somebody waits for; none when nobody waits.
    """
    scene = topic.scene
    for what, told in ((MESSAGE, _for_message), (ROOM, _for_room), (AUDIENCE, _for_audience)):
        waiters = [waiter for waiter, awaits in zip(scene.sight.waiters, topic.awaits, strict=True) if awaits == what]
        if waiters:
            yield told(topic, tuple(map(scene.sleeper, waiters)))


def _for_message(topic: TopicScene, sleepers: tuple[Sleeper, ...]) -> Reason:
    scene, report = topic.scene, topic.report
    what = "a newer value" if report.kind == "Latest" else MESSAGE
    alive = [found for found in report.publishers if found.alive]
    keepers = tuple(_publisher(scene, found) for found in alive)
    newest = max(report.publishers, key=lambda found: found.last, default=None)
    if newest is None or not newest.last:
        because = "nobody has published yet" if report.stats.messages == 0 else "who published is not noted any more"
    else:
        who = "a process that is gone" if newest.pid is None else f"pid {newest.pid} ({newest.command})"
        because = f"the last message, number {report.stats.messages}, is {age(scene.now - newest.last)} old, from {who}"
    if alive:
        return Reason(
            what, sleepers, keepers, f"{because}, and nobody publishes just now", cure_for(keepers, has=False)
        )
    if newest is not None:
        because += "; no publisher is alive"
    asleep = {sleeper.pid for sleeper in sleepers}
    silent = [member for member in scene.members if member.alive and member.pid not in asleep]
    taking_part = "1 more takes part, and has" if len(silent) == 1 else f"{len(silent)} more take part, and have"
    more = f" ({taking_part} not published)" if silent else ""
    return Reason(what, sleepers, (), because + more, "start a publisher, or start it again")


def _publisher(scene: Scene, found: Publisher) -> Keeper:
    here = next((member.is_here for member in scene.members if member.pid == found.pid), True)
    doing = "published last" if found.last else "has not published"
    return scene.known(found.pid, found.command or "", True, here, doing)._replace(
        doing=f"{doing} {age(scene.now - found.last)} ago" if found.last else doing
    )


def _for_room(topic: TopicScene, sleepers: tuple[Sleeper, ...]) -> Reason:
    scene, stats = topic.scene, topic.report.stats
    asleep = {sleeper.pid for sleeper in sleepers}
    keepers = [
        scene.keeper(hold, f"has {hold.amount} unread messages, and asked publishers to wait for it (policy block)")
        if hold.role == UNREAD
        else scene.keeper(hold, f"pins {_slots(hold.amount)}")
        for hold in scene.sight.holds
    ]
    keepers += [scene.keeper(hold, f"fills {_slots(hold.amount)}") for hold in topic.filling]
    because = f"none of {stats.slots} slots can be taken: {stats.pinned} pinned, {stats.loaned} being filled"
    if stats.slots > stats.pinned + stats.loaned:
        because += ", the others unread or the newest message's"
    cures = [cure_for(keepers)] if keepers else []
    if any(hold.role != UNREAD for hold in scene.sight.holds):
        cures.append("release samples sooner, keep copies instead of views, or make the topic with more slots")
    if any(hold.role == UNREAD for hold in scene.sight.holds):
        cures.append('a subscription with the policy "drop" holds nobody up')
    if any(keeper.pid in asleep for keeper in keepers):
        because += "; who waits keeps some itself"
    return Reason(ROOM, sleepers, tuple(keepers), because, "; ".join(cures) or "look again: there is room by now")


def _for_audience(topic: TopicScene, sleepers: tuple[Sleeper, ...]) -> Reason:
    count = topic.report.stats.subscribers
    are = "1 living subscription" if count == 1 else f"{count} living subscriptions"
    # A publisher that has slept may not have looked again yet.
    because = f"there are {are}, and a slot is free, so it waits for more to subscribe (wait_for_subscribers)"
    return Reason(AUDIENCE, sleepers, (), because, "start the subscribers")


def _slots(count: int) -> str:
    return "1 slot" if count == 1 else f"{count} slots"
