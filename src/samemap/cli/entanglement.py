"""Who waits where, over all segments: a holder may itself wait, and some may wait for each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .lock_table import Row

__all__ = ["Web"]

#: What somebody waits for until who holds it gives it back.
_HELD = ("Lock", "RLock", "ReadWriteLock", "Semaphore")


class Web(NamedTuple):
    """Who waits for whom.

    Attributes:
        waits: Where each process of this pid namespace waits.
        holders: Who holds what, of that which is held.
    """

    waits: Mapping[int, tuple[str, ...]]
    holders: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Web:
        """Look at what was seen.

        Args:
            rows: All objects of all segments.
        """
        waits: dict[int, tuple[str, ...]] = {}
        holders: dict[str, tuple[int, ...]] = {}
        for row in rows:
            for waiter in row.sight.waiters:
                if waiter.is_here and row.name not in waits.get(waiter.pid, ()):
                    waits[waiter.pid] = (*waits.get(waiter.pid, ()), row.name)
            if row.sight.kind in _HELD:
                alive = (hold for hold in row.sight.holds if hold.alive and hold.is_here)
                holders[row.name] = tuple(dict.fromkeys(hold.pid for hold in alive if hold.pid is not None))
        return cls(waits, holders)

    def circle(self, name: str) -> tuple[tuple[int, str], ...]:
        """Return those who wait for each other.

        Args:
            name: What somebody waits for.

        Returns:
            Processes, and what each waits for: the first holds ``name``, each next one what that before waits for, and
            the last waits for ``name``. Empty where there is no such circle.

        Example:
            >>> web = Web({1: ("b",), 2: ("a",), 3: ("a",)}, {"a": (1,), "b": (2,)})
            >>> web.circle("a")
            ((1, 'b'), (2, 'a'))
            >>> Web({3: ("a",)}, {"a": (1,)}).circle("a")
            ()
        """
        seen = {name}
        paths: list[tuple[tuple[int, str], ...]] = [
            ((pid, where),) for pid in self.holders.get(name, ()) for where in self.waits.get(pid, ())
        ]
        while paths:
            path = paths.pop(0)
            where = path[-1][1]
            if where == name:
                # Who waits for what it holds itself is told of elsewhere.
                if len(path) > 1:
                    return path
                continue
            if where in seen:
                continue
            seen.add(where)
            paths += [
                (*path, (pid, further)) for pid in self.holders.get(where, ()) for further in self.waits.get(pid, ())
            ]
        return ()
