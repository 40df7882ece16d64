"""``samemap top``: all segments, what goes through them, and who holds them, as it changes."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from .display import cut, echo_json, iso_time, printable, table, terminal_width
from .failures import Failure
from .history import History, Snapshot
from .parameters import NAME, Duration, Trust, opening
from .sampling import samples
from .top_table import COLUMNS, Order, is_wanted, ordered

if TYPE_CHECKING:
    from .top_screen import TopScreen

__all__ = ["top"]

EXAMPLES = """\b
Examples:
  samemap top
  samemap top camera detections       these only
  samemap top --sort rate --filter topic
  samemap top --once                  a table, and the end
  samemap top --json --interval 5s | jq 'select(.dropped_per_second > 0)'

\b
Keys:
  q         quit
  s, r      sort by the next column; the other way round
  /         filter, as --filter does; Escape ends that
  p, space  pause, and go on
  d, Enter  show all that is known of the chosen segment, or no more
  Tab       go there, to scroll, and back
"""

NONE = "no segments"


@click.command(epilog=EXAMPLES)
@click.argument("names", metavar="[NAME]...", nargs=-1, type=NAME)
@click.option("--interval", type=Duration(0.05), default="1s", show_default=True, help="Look so often.")
@click.option("--once", is_flag=True, help="Print one table, of what happens in one interval.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per segment, likewise.")
@click.option(
    "--sort",
    type=click.Choice([column.key for column in COLUMNS]),
    metavar="COLUMN",
    default="name",
    show_default=True,
    help=f"Sort by {', '.join(column.key for column in COLUMNS[:-1])} or {COLUMNS[-1].key}; the greatest number first.",
)
@click.option("--reverse", is_flag=True, help="Sort the other way round.")
@click.option("--filter", "words", default="", metavar="WORDS", help="Show what has these in its name, kind or users.")
@opening
@click.pass_context
def top(
    ctx: click.Context,
    names: tuple[str, ...],
    interval: float,
    once: bool,
    as_json: bool,
    sort: str,
    reverse: bool,
    words: str,
    any_owner: bool,
    follow_symlinks: bool,
) -> None:
    """Show all segments as they change: what goes through them, who is attached, who holds them.

    They are those in the runtime directory ($SAMEMAP_DIR, else /dev/shm/samemap-UID), or NAME. Raw regions
    are listed too, with their size. Needs textual (pip install 'samemap[top]'), but not with
    --once or --json. Without a terminal it is as with --once.

    Looking changes nothing: segments are mapped read-only, nobody joins or subscribes, and the permission
    to read is enough. Rates are differences of counts that are in the segments anyway.

    MSG/S and BYTES/S count messages once, however many subscribe; of a queue, what is put; of a service,
    requests. LAST MINUTE draws MSG/S, the newest at the right. DEPTH is how many jobs wait. LAG is how
    many messages the slowest living subscriber has not got. ATTACHED counts living processes, and the dead
    that have not left. HELD BY names the pid that holds a lock, a slot or a job longest, and since when;
    +2 are two more. DROPS were not published for want of a slot, since the segment was made. WAITING counts
    threads and tasks that sleep there: 'samemap why NAME' says what for.
    """
    trust = Trust(any_owner=any_owner, follow_symlinks=follow_symlinks)
    history = History(lambda: samples(names, trust))
    order = Order(sort, reverse)
    # Keys come from standard input.
    if not (once or as_json) and sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty():
        screen = _screen(history, interval, order, words)
        error = screen.run()
        if error is not None:
            raise error
        ctx.exit(screen.return_code or 0)
    # There are rates of two looks only.
    history.snapshot()
    time.sleep(interval)
    snapshot = history.snapshot()
    shown = [row for row in ordered(snapshot.rows, order) if is_wanted(row, words)]
    if as_json:
        head = {"time": iso_time(snapshot.now), "seconds": snapshot.seconds}
        for row in shown:
            echo_json({**head, **row.record()})
    else:
        _print(snapshot._replace(rows=tuple(shown)))
    problems = [row.sample.problem for row in shown if row.sample.problem is not None]
    for problem in problems:
        Failure(ctx.command_path, printable(problem)).show()
    if problems:
        ctx.exit(1)


def _screen(history: History, interval: float, order: Order, words: str) -> TopScreen:
    try:
        # Not before: it is an extra, and takes longer to import than all of samemap.
        from .top_screen import TopScreen
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "samemap":
            raise
        raise ValueError(
            "the screen needs textual, which is missing: pip install 'samemap[top]', or --once for a table"
        ) from error
    return TopScreen(history, interval, order, words)


def _print(snapshot: Snapshot) -> None:
    width = terminal_width()
    if not snapshot.rows:
        if width is not None:
            click.echo(NONE, err=True)
        return
    # One look has no minute.
    columns = [column for column in COLUMNS if column.key != "minute"]
    cells = [tuple(column.cell(row, snapshot) for column in columns) for row in snapshot.rows]
    right = frozenset(number for number, column in enumerate(columns) if column.is_right)
    heading, *lines = table([tuple(column.heading for column in columns), *cells], right)
    click.echo(click.style(heading if width is None else cut(heading, width), bold=True))
    for line, row in zip(lines, snapshot.rows, strict=True):
        line = line if width is None else cut(line, width)
        click.echo(line if row.sample.problem is None else click.style(line, fg="red"))
