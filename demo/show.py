"""The command: all scenes, the stream, and what is left at the end."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click
import family
import jobs
import killed
import strangers
from broadcast import broadcast
from interrupts import Interrupted, Interrupts
from peers import PeerError
from processes import taking_part
from screen import CheckError, Screen, check
from source import DEFAULT, Source, SourceError, open_source
from stream import stream
from waiting import WaitError

import samemap

SCENES = (
    family.over_a_file,
    strangers.in_a_file,
    family.without_a_name,
    strangers.in_growing_memory,
    killed.holding_a_lock,
)
STREAMS = (stream, broadcast)
FAILED = 1
PYTHON = Path(os.path.relpath(sys.executable))
PROGRAM = PYTHON.with_name("samemap")
EXAMPLES = Path(os.path.relpath(Path(__file__).parent.parent / "examples"))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--source",
    "file",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    default=DEFAULT,
    help="Stream this picture, animation or video instead of the photo that comes along.",
)
def main(file: Path) -> None:
    """Show what samemap does: processes that share memory, live, in under a minute.

    Everything that is shown is also checked: the exit status is 1 if anything did not hold.
    """
    screen = Screen()
    interrupts = Interrupts()
    try:
        interrupts.install()
        status = show(screen, interrupts, open_source(file))
    except SourceError as error:
        raise click.BadParameter(str(error), param_hint="'--source'") from error
    except Interrupted as interrupted:
        screen.console.print(f"\nInterrupted by {interrupted}. Every process has ended, every file is removed.")
        status = 128 + interrupted.signal
    sys.exit(status)


def show(screen: Screen, interrupts: Interrupts, source: Source) -> int:
    """Show all of it; return the exit status."""
    started = time.monotonic()
    screen.title(
        f"samemap {samemap.__version__}",
        "Processes share memory. Everything here is live, and checked.",
    )
    try:
        with taking_part(interrupts) as processes:
            for scene in SCENES:
                scene(screen, processes)
            agreed = sum(scene(screen, processes, source) for scene in STREAMS)
            jobs.delivered_again(screen, processes)
        check(not processes.directory.exists(), f"{processes.directory} is still there")
        check(not processes.left_over(), f"processes {processes.left_over()} are still there")
    except (PeerError, WaitError, CheckError, OSError) as error:
        screen.failed(str(error))
        screen.console.print("  The demo ends here. Every process has ended, every file is removed.")
        return FAILED
    screen.console.print()
    count, seconds = len(SCENES) + len(STREAMS) + 1, time.monotonic() - started
    screen.finale(
        f"{count} scenes and {agreed:,} checksums held, in {seconds:.0f} seconds. "
        f"Of {processes.started} processes and their files, none is left.",
        (f"{PROGRAM} read greeting --follow --wait inf", f"{PROGRAM} write greeting --every 1s Hello World"),
        (f"{PYTHON} {EXAMPLES / 'live_view.py'}", f"{PYTHON} {EXAMPLES / 'camera.py'}"),
    )
    return 0
