"""The screen of ``samemap top``; only this file imports textual, which is an extra."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from typing import ClassVar, Literal

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Input, Static

from .display import printable
from .history import History, Row, Snapshot
from .top_details import details
from .top_table import COLUMNS, Column, Order, is_wanted, ordered

__all__ = ["TopScreen"]

#: Columns of the labels of the details.
_LABELS = 12


class TopScreen(App[OSError]):
    """A table of all segments, and below it everything about the chosen one; it ends with an error, or with ``None``.

    Args:
        history: Whom to ask for snapshots.
        interval: Seconds between them.
        order: How rows are sorted at first.
        words: What is filtered by at first.
    """

    TITLE = "samemap top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { height: 1; padding: 0 1; background: $primary; color: $text; text-style: bold; }
    #segments { height: 1fr; }
    #words { display: none; height: 3; }
    #details { display: none; height: 50%; border-top: solid $primary; padding: 0 1; }
    #told { text-wrap: nowrap; text-overflow: ellipsis; }
    #details.shown, #words.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("p,space", "pause", "Pause", key_display="p"),
        # Enter is the table's own, and not shown in the line of keys.
        Binding("d", "details", "Details"),
        Binding("escape", "back", "Back", show=False),
        Binding("ctrl+c", "interrupt", "Quit", show=False, priority=True),
    ]

    def __init__(self, history: History, interval: float, order: Order, words: str = "") -> None:
        super().__init__()
        self._history = history
        self._interval = interval
        self._order = order
        self._words = words
        self._is_paused = False
        # One at a time: a history is no place for two threads.
        self._looking = asyncio.Lock()
        self._snapshot = Snapshot(time.monotonic(), time.time(), 0.0, ())
        #: What the table shows, by path.
        self._cells: dict[str, list[Text]] = {}
        self._rows: dict[str, Row] = {}

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Static(id="summary")
        table: DataTable[Text] = DataTable(id="segments", cursor_type="row", zebra_stripes=True, fixed_columns=1)
        yield table
        with VerticalScroll(id="details"):
            yield Static(id="told")
        yield Input(self._words, placeholder="words of name, kind, pid or command; Escape ends it", id="words")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        for column in COLUMNS:
            self._table.add_column(self._heading(column), key=column.key)
        self._table.focus()
        self.query_one("#words").set_class(bool(self._words), "shown")
        # The terminal must be given back however this ends.
        with suppress(ValueError, RuntimeError):
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._end, 128 + number)
        self.run_worker(self._watch(), exclusive=True)

    async def _watch(self) -> None:
        while True:
            if not self._is_paused:
                await self.look()
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """Look once, and show that."""
        async with self._looking:
            try:
                # Not in the loop: where there are thousands, keys would have to wait.
                self._snapshot = await asyncio.to_thread(self._history.snapshot)
            except OSError as error:
                self.exit(error, return_code=1)
                return
        # Somebody may have paused meanwhile.
        if not self._is_paused:
            self._show()

    def _end(self, status: int) -> None:
        self.exit(return_code=status)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#segments", DataTable)

    # Showing

    def _show(self) -> None:
        snapshot = self._snapshot
        shown = [row for row in ordered(snapshot.rows, self._order) if is_wanted(row, self._words)]
        self._rows = {row.sample.path: row for row in shown}
        cells = {path: [_cell(column, row, snapshot) for column in COLUMNS] for path, row in self._rows.items()}
        table = self._table
        if list(cells) == list(self._cells):
            for path, texts in cells.items():
                for column, text, before in zip(COLUMNS, texts, self._cells[path], strict=True):
                    if text != before:
                        table.update_cell(path, column.key, text, update_width=True)
        else:
            self._fill(cells)
        self._cells = cells
        self._show_summary(len(shown))
        self._show_details()

    def _fill(self, cells: dict[str, list[Text]]) -> None:
        table = self._table
        chosen, scrolled = self._chosen, table.scroll_y
        line = table.cursor_row
        table.clear()
        for path, texts in cells.items():
            table.add_row(*texts, key=path)
        if cells:
            # On the same segment, wherever it is by now; where that went, on the same line.
            paths = list(cells)
            line = paths.index(chosen) if chosen in cells else min(line, len(paths) - 1)
            table.move_cursor(row=line, animate=False)
            table.scroll_to(y=scrolled, animate=False)

    def _show_summary(self, shown: int) -> None:
        rows = self._snapshot.rows
        waiting = sum(row.sample.waiting for row in rows)
        troubled = sum(row.sample.problem is not None for row in rows)
        parts = [f"{len(rows)} segments" if shown == len(rows) else f"{shown} of {len(rows)} segments"]
        parts += [f"{waiting} asleep"] if waiting else []
        parts += [f"{troubled} cannot be looked at"] if troubled else []
        parts += [
            f"every {self._interval:g} s",
            f"by {self._order.key}{', reversed' if self._order.is_reversed else ''}",
        ]
        parts += ["PAUSED"] if self._is_paused else []
        self.query_one("#summary", Static).update(Text(f"samemap top: {'; '.join(parts)}"))

    def _show_details(self) -> None:
        if not self.query_one("#details").has_class("shown"):
            return
        row = self._rows.get(self._chosen or "")
        told = Text("nothing is chosen")
        if row is not None:
            told = Text.assemble((printable(row.sample.name), "bold"), "\n")
            for label, lines in details(row, self._snapshot):
                told.append(label.ljust(_LABELS), "bold")
                told.append(("\n" + " " * _LABELS).join(lines) + "\n")
        self.query_one("#told", Static).update(told)

    @property
    def _chosen(self) -> str | None:
        table = self._table
        if not 0 <= table.cursor_row < table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def _heading(self, column: Column) -> Text:
        # As wide without: the table measures a heading once.
        arrow = " "
        if column.key == self._order.key:
            arrow = "▼" if column.is_number != self._order.is_reversed else "▲"
        return Text(column.heading + arrow, justify=_side(column))

    def _sort_by(self, order: Order) -> None:
        self._order = order
        for column in COLUMNS:
            for known in self._table.columns.values():
                if known.key.value == column.key:
                    known.label = self._heading(column)
        # Headings are drawn from what was drawn before, unless the table is filled anew.
        self._cells = {}
        self._show()

    # Keys

    def action_sort(self) -> None:
        """Sort by the next column."""
        keys = [column.key for column in COLUMNS]
        self._sort_by(Order(keys[(keys.index(self._order.key) + 1) % len(keys)]))

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._sort_by(self._order._replace(is_reversed=not self._order.is_reversed))

    def action_pause(self) -> None:
        """Stop looking, or go on."""
        self._is_paused = not self._is_paused
        self._show()

    def action_filter(self) -> None:
        """Ask for words."""
        words = self.query_one("#words", Input)
        words.add_class("shown")
        words.focus()

    async def action_back(self) -> None:
        """End the filter; else the details."""
        words = self.query_one("#words", Input)
        if words.has_class("shown"):
            words.value = ""
            words.remove_class("shown")
            self._table.focus()
        else:
            self.query_one("#details").remove_class("shown")
            self._table.focus()

    def action_details(self) -> None:
        """Show all that is known of the chosen segment, or no more."""
        self.query_one("#details").toggle_class("shown")
        # It may be the details that had the keys.
        self._table.focus()
        self._show_details()

    def action_interrupt(self) -> None:
        """End, as Ctrl-C ends other commands."""
        self._end(130)

    def on_data_table_row_selected(self) -> None:
        """Show all that is known of the segment on which Enter was pressed, or no more."""
        self.action_details()

    def on_data_table_row_highlighted(self) -> None:
        """Show what is known of another one."""
        self._show_details()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter by other words."""
        self._words = event.value
        self._show()

    def on_input_submitted(self) -> None:
        """Go back to the table; the words stay."""
        self.query_one("#words").set_class(bool(self._words), "shown")
        self._table.focus()


def _cell(column: Column, row: Row, snapshot: Snapshot) -> Text:
    return Text(column.cell(row, snapshot), _colour(column.key, row), justify=_side(column), no_wrap=True)


def _side(column: Column) -> Literal["left", "right"]:
    return "right" if column.is_right else "left"


def _colour(key: str, row: Row) -> str:
    sample = row.sample
    dead = {
        "attached": sample.alive < len(sample.members),
        "held": any(not each.hold.alive for each in sample.kept),
    }
    if sample.problem is not None or dead.get(key):
        return "red"
    drops = row.rates is not None and row.rates.dropped > 0
    if (key == "drops" and drops) or (key == "waiting" and sample.waiting):
        return "yellow"
    return "green" if key == "minute" else ""
