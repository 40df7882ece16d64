"""What can be wrong with a topic: checks of ``samemap doctor``, each of which looks at what it is given only."""

from __future__ import annotations

from collections.abc import Iterator

from .checks import Finding, Fix, SegmentFile
from .observe import UNREAD, Hold, Sight

__all__ = ["all_pinned", "pinned_by_the_dead", "waited_for"]


def pinned_by_the_dead(file: SegmentFile) -> Iterator[Finding]:
    """Find subscribers that died with slots pinned."""
    for sight in _topics(file):
        for hold in sight.dead:
            if hold.role != UNREAD:
                yield Finding(
                    "pinned-by-the-dead",
                    file.path.name,
                    f"{_who(hold)} died with {hold.amount} of {sight.numbers['slots']} slots pinned",
                    "these slots keep their messages, and there are fewer for new ones",
                    "none is needed: a publisher that finds no other slot takes them back",
                    Fix.UNPIN,
                    file.path,
                )


def all_pinned(file: SegmentFile) -> Iterator[Finding]:
    """Find a topic in which nothing can be published, because living subscribers pin all slots."""
    for sight in _topics(file):
        pinning = [hold for hold in sight.holds if hold.role != UNREAD]
        # What the dead pin, the next publisher takes back.
        if sight.numbers["pinned"] >= sight.numbers["slots"] and pinning and not sight.dead:
            by = "; ".join(f"{_who(hold)}: {hold.amount}" for hold in pinning)
            yield Finding(
                "pinned",
                file.path.name,
                f"all {sight.numbers['slots']} slots are pinned, by {by}",
                "nothing can be published: publishers wait, raise Full or drop their messages, as they chose",
                "release samples sooner (with sample: ..., sample.release()), keep copies instead of views, or make "
                "the topic anew with more slots",
                None,
                file.path,
            )


def waited_for(file: SegmentFile) -> Iterator[Finding]:
    """Note subscribers that publishers wait for just now."""
    for sight in _topics(file):
        for hold in sight.holds:
            if hold.role == UNREAD and hold.alive:
                yield Finding(
                    "waited-for",
                    file.path.name,
                    f"{_who(hold)} has {hold.amount} unread messages, and asked publishers to wait for it "
                    '(policy "block")',
                    "nothing can be published until it reads on, also while it is stopped or hangs",
                    'none is needed if it reads on; else end it, or have it subscribe with the policy "drop"',
                    None,
                    file.path,
                    is_note=True,
                )


def _topics(file: SegmentFile) -> Iterator[Sight]:
    return (sight for sight in file.sights if sight.kind == "Topic" and sight.problem is None)


def _who(hold: Hold) -> str:
    if hold.pid is None:
        return "a process that is gone"
    where = "" if hold.is_here else " of another pid namespace"
    return f"pid {hold.pid}{where} ({hold.command or 'unknown'})"
