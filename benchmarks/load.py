"""What goes through a queue, and what comes out of it: every message has a number, by which it is known again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SIZE = 1 << 20
#: How many arrays there are, each full of its own number, and one in each message: making them is not what is measured.
ARRAYS = 4


def arrays() -> list[np.ndarray[Any, Any]]:
    """Return arrays of 1 MiB, each full of a number of its own."""
    return [np.full(SIZE, number + 1, np.uint8) for number in range(ARRAYS)]


def sparse(values: list[Any]) -> list[Any]:
    """Return a few of the values, and let go of the others: the memory that they took stays with the process.

    Who receives messages and keeps them needs memory, which the kernel gives page by page. For each small message that
    takes longer than a quick queue takes, and says nothing of it.
    """
    # One in each of the interpreter's arenas, and more.
    kept = values[::500]
    values.clear()
    return kept


@dataclass(frozen=True, slots=True)
class Load:
    """Messages of a kind.

    Attributes:
        kind: ``"bytes"``, 64 of them; ``"tuples"`` of a few small things; ``"arrays"``, of 1 MiB, in an object.
        count: How many, through all of it.
        batch: How many are put and got at a time; 0 for one by one.
        producers: How many put an equal share of them.
        consumers: How many get an equal share of them.
    """

    kind: str
    count: int
    batch: int = 0
    producers: int = 2
    consumers: int = 2

    def values(self, producer: int) -> list[Any]:
        """Return all that a producer has to put."""
        share = self.count // self.producers
        numbers = range(producer * share, (producer + 1) * share)
        if self.kind == "bytes":
            return [number.to_bytes(8, "little") * 8 for number in numbers]
        if self.kind == "tuples":
            return [(number, "temperature", number / 2) for number in numbers]
        made = arrays()
        return [{"number": number, "array": made[number % ARRAYS]} for number in numbers]

    def number(self, value: Any) -> int:
        """Return the number of a message, when it is whole."""
        if self.kind == "bytes":
            number = int.from_bytes(value[:8], "little")
            whole = value == number.to_bytes(8, "little") * 8
        elif self.kind == "tuples":
            number = value[0]
            whole = value == (number, "temperature", number / 2)
        else:
            number, array = value["number"], value["array"]
            # A byte of each page, and the last: reading is not what is measured.
            whole = array.shape == (SIZE,) and bool((array[4095::4096] == number % ARRAYS + 1).all())
        if not whole:
            raise AssertionError(f"damaged: {str(value)[:200]}")
        return int(number)
