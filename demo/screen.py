"""What the demo looks like: a story on a terminal, and the same story as plain lines anywhere else."""

from __future__ import annotations

import textwrap
import time

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

COLOURS = {
    **dict.fromkeys(["demo", "parent", "decoder", "writer"], "cyan"),
    **dict.fromkeys(["reader", "recorder"], "magenta"),
    "view": "blue",
    "detector": "yellow",
}
OTHER_COLOURS = ("magenta", "yellow", "green", "blue")
#: Where the story starts in a line, after who tells it.
INDENT = 21


class Screen:
    """Prints the story.

    Attributes:
        console: Where everything goes.
        lively: Whether a person watches: then there is colour, movement, and time to read.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.lively = self.console.is_terminal and not self.console.is_dumb_terminal

    @property
    def coloured(self) -> bool:
        """Whether pictures can be shown in colour."""
        return self.lively and self.console.color_system is not None and not self.console.no_color

    def title(self, name: str, text: str) -> None:
        """Say what this is."""
        self._print(Text.assemble((name, "bold"), "  ", text))

    def scene(self, number: int, title: str, code: str) -> None:
        """Begin a scene; ``code`` is what a reader would write to have the same."""
        self.console.print()
        self.console.print(Rule(Text(f"{number}  {title}", style="bold"), align="left", style="dim"))
        if self.lively:
            self.console.print(Syntax(code, "python", theme="ansi_dark", background_color="default", padding=(0, 2)))
        else:
            self.console.print(Text("\n".join(f"  {line}" for line in code.splitlines())))
        self.pause(1.2)

    def line(self, role: str, pid: int, text: str, microseconds: float | None = None) -> None:
        """Say what a process did, and how long it took to wake up for it."""
        style = COLOURS.get(role) or OTHER_COLOURS[sum(role.encode()) % len(OTHER_COLOURS)]
        if self.lively:
            text = textwrap.fill(text, max(20, self.console.width - INDENT)).replace("\n", "\n" + " " * INDENT)
        words = Text.assemble("  ", (f"{role:<9}", style), (f"{pid:>8}  ", "dim"), text)
        if microseconds is not None:
            words.append(f"  woken in {microseconds:.0f} µs", "bold green")
        self._print(words)
        self.pause(0.25)

    def proved(self, text: str) -> None:
        """Say what the scene has shown."""
        self._print(Text.assemble("  ", ("ok  ", "bold green"), (text, "bold")))
        self.pause(0.8)

    def failed(self, text: str) -> None:
        """Say what went wrong."""
        self._print(Text.assemble("  ", ("FAILED  ", "bold red"), text))

    def finale(self, text: str, *plays: tuple[str, str]) -> None:
        """Sum up, and invite to try it: a command for each of two terminals."""
        self.console.print(Rule(style="dim"))
        self._print(Text(text, style="bold green"))
        for n, commands in enumerate(plays):
            self.console.print("Or, with frames:" if n else "Your turn, in two terminals:")
            for command in commands:
                self.console.print(Text(f"  {command}", style="cyan"), soft_wrap=True)

    def table(self, title: str, columns: dict[str, str], rows: list[list[str]]) -> None:
        """Print a table; ``columns`` maps each heading to how it is justified."""
        table = Table(box=box.SIMPLE_HEAD, header_style="dim", show_edge=False, padding=(0, 2, 0, 0))
        for heading, justify in columns.items():
            table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self._print(Text(f"  {title}", style="bold"))
        self.console.print(Padding(table, (0, 2), expand=False))

    def _print(self, text: Text) -> None:
        # Anywhere but on a terminal, a line stays one line: for grep.
        self.console.print(text, soft_wrap=not self.lively)

    def pause(self, seconds: float) -> None:
        """Give a person time to read."""
        if self.lively:
            time.sleep(seconds)


class CheckError(Exception):
    """Something that the demo promises did not hold."""


def check(holds: bool, otherwise: str) -> None:
    """Raise `CheckError` unless something holds. Unlike ``assert`` it also works with ``python -O``."""
    if not holds:
        raise CheckError(otherwise)
