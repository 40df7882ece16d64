"""How errors end a command: one line that names the object, the values, and this program's cure."""

from __future__ import annotations

import errno
import os
import re
from typing import IO, Any

import click

from ..errors import SegmentTruncated
from .display import abandon_output, colour_wanted, printable

__all__ = ["Failure", "TeachingGroup", "explain"]

#: What `Region` says is "what; the cure in Python", and how long it waited.
_SENTENCE = re.compile(r"(?P<what>.*?)(?:; (?P<cure>.*?))?(?P<waited> \(waited [^)]*\))?", re.DOTALL)

#: A cure in Python's words, and the same in this program's.
_TRANSLATIONS = {
    "any_owner=True": "--any-owner accepts that",
    "follow_symlinks=True": "--follow-symlinks accepts it",
    "create() makes it": "'samemap write' makes it, 'samemap read --wait 10s' waits for it",
    "size= does it": "'samemap write' gives it a size, 'samemap read --wait 10s' waits until somebody does",
}

#: What helps where nobody said so yet.
_CURES = {
    errno.ENOENT: "'samemap ls' shows what there is",
    errno.EACCES: "its owner can permit it (chmod)",
}


def explain(error: OSError | ValueError, name: str | None = None) -> str:
    """Turn an error into one line.

    Args:
        error: What was raised.
        name: What it was about, when the error does not say so itself.

    Returns:
        ``object: what disagrees; cure``.
    """
    if not isinstance(error, OSError):
        return printable(str(error))
    subject = error.filename if error.filename is not None else name
    text = error.strerror or str(error)
    match = _SENTENCE.fullmatch(text)
    cure = match["cure"] if match else None
    if isinstance(error, SegmentTruncated):
        cure = "start again once it is whole"
    elif cure is None:
        cure = _CURES.get(error.errno or 0)
    else:
        cure = next((ours for theirs, ours in _TRANSLATIONS.items() if theirs in cure), cure)
    what = f"{match['what']}{match['waited'] or ''}" if match else text
    sentence = f"{what}; {cure}" if cure else what
    return printable(sentence if subject is None else f"{os.fsdecode(subject)}: {sentence}")


class Failure(click.ClickException):
    """An error of the world, not of the command line: exit status 1."""

    exit_code = 1

    def __init__(self, command: str, message: str) -> None:
        super().__init__(message)
        self.command = command

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line on standard error, after the name of the command."""
        # The context that knows of NO_COLOR has gone by now.
        line = f"{click.style(self.command + ':', fg='red')} {self.message}"
        click.echo(line, file=file, err=True, color=colour_wanted())


class TeachingGroup(click.Group):
    """A group of commands whose errors are lines, not tracebacks; its help keeps their order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which a newcomer meets them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the user chose."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The program after the pipe has all it wanted (`| head -1`).
            abandon_output()
            ctx.exit(0)
        except KeyboardInterrupt:
            ctx.exit(130)
        except (OSError, ValueError) as error:
            raise Failure(f"{ctx.info_name} {ctx.invoked_subcommand}", explain(error)) from error
