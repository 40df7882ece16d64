"""Figures, and the table that shows them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

READMES = (Path(__file__).with_name("README.md"), Path(__file__).parent.parent / "README.md")
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def share(part: float) -> str:
    """Return a part of a whole."""
    return f"{part:.2f}"


def percent(part: float) -> str:
    """Return a part of a whole, in percent."""
    return f"{part * 100:.3f} %"


def in_words(nanoseconds: float) -> str:
    """Return a time with a fitting unit."""
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.2f} {unit}"
    return f"{nanoseconds:.1f} ns"


@dataclass(frozen=True, slots=True)
class Figure:
    """One comparison, both sides measured in the same run.

    Attributes:
        name: What was measured.
        takes: Nanoseconds that samemap takes, or another measure.
        peer: What it is compared with.
        peer_takes: The same of the peer.
        bar: The figure to reach, in words.
        reached: Whether it is reached.
        shown: How the two figures are written, where they are no times.
    """

    name: str
    takes: float
    peer: str
    peer_takes: float
    bar: str
    reached: bool
    shown: Callable[[float], str] = in_words


def _ratio(figure: Figure) -> str:
    return f"{figure.takes / figure.peer_takes:.2f}" if figure.peer_takes else "-"


def table(figures: list[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| what | samemap | against | takes | ratio | bar | reached |",
        "| --- | ---: | --- | ---: | ---: | --- | --- |",
    ]
    lines += [
        f"| {f.name} | {f.shown(f.takes)} | {f.peer} | {f.shown(f.peer_takes)} "
        f"| {_ratio(f)} | {f.bar} | {'yes' if f.reached else '**no**'} |"
        for f in figures
    ]
    return "\n".join(lines)


def machine() -> str:
    """Return what the figures were measured on."""
    with Path("/proc/cpuinfo").open() as cpus:
        models = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    kernel, python = platform.release(), platform.python_version()
    return f"{len(os.sched_getaffinity(0))} processors ({model}), Linux {kernel}, CPython {python}."


def write(figures: list[Figure], part: str = "", notes: list[str] | None = None) -> None:
    """Put the table into this directory's README and the project's, between their marks.

    Args:
        figures: What to show.
        part: The part that has a table of its own, in this directory's README only; that of all others when empty.
        notes: What is to be said below it, such as who was left out.
    """
    below = "\n\n".join(filter(None, (table(figures), "\n".join(f"- {note}" for note in notes or []))))
    begin, end = (mark.replace("figures", f"figures {part}".strip()) for mark in (BEGIN, END))
    for readme in READMES[:1] if part else READMES:
        text = readme.read_text()
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        readme.write_text(f"{head}{begin}\n\n{machine()}\n\n{below}\n\n{end}{tail}")
