"""The ``samemap`` command: regions, topics and locks from a shell."""

from __future__ import annotations

import click

from .._core import __version__
from .change import remove, resize
from .delays import delay
from .display import colour_wanted
from .doctor import doctor
from .echo import echo
from .failures import TeachingGroup
from .hexdump import hexdump
from .listing import list_regions, stat
from .locks import locks
from .publish import publish
from .rates import bandwidth, rate
from .read import read
from .top import top
from .view import view
from .why import why
from .write import write

__all__ = ["commands", "main"]

EXAMPLES = """\b
Try it in two terminals:
  samemap read last --follow --wait 1m
  samemap write last --every 1s Hello World

\b
Then look at what is there:
  samemap ls
  samemap stat last
  samemap hexdump last
  samemap rm last

\b
Topics:
  samemap pub words --create --every 1s tick tock
  samemap echo words
  samemap hz words
  samemap view camera --follow

\b
Something hangs?
  samemap top
  samemap locks
  samemap why last
  samemap doctor
"""


@click.group(
    "samemap",
    cls=TeachingGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="samemap")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Share memory between the processes of this machine.

    A region is a file that processes map into their memory: what one stores, the others see, C programs
    too. A segment is such a file too: it holds a topic, a lock, or another object of samemap's.

    A plain NAME is a file in the runtime directory: $SAMEMAP_DIR, else /dev/shm/samemap-UID. A NAME that
    holds a '/' is that very file.
    """
    ctx.color = colour_wanted()


TOPICS = (echo, publish, rate, bandwidth, delay, view)

for command in (write, read, list_regions, stat, hexdump, resize, remove, *TOPICS, top, locks, why, doctor):
    commands.add_command(command)


def main() -> None:
    """Run the command that the program's arguments name, and exit with its status."""
    commands(prog_name="samemap")
