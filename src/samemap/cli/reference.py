"""Write docs/cli.md from the commands' own help: ``python -m samemap.cli.reference > docs/cli.md``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from . import commands

__all__ = ["REGENERATE", "render"]

REGENERATE = "python -m samemap.cli.reference > docs/cli.md"

#: What click takes of a terminal of 80 columns or more.
WIDTH = 78

INTRODUCTION = f"""\
# The `samemap` command

<!-- Generated from the commands' own help by `{REGENERATE}`; change the help, not this file. -->

`samemap` and `python -m samemap` are the same command.
It needs no more than the base install:
only `echo`, `pub` and `view` need what a topic's messages do,
which is numpy for arrays and msgspec for objects of a type; `view --output` needs Pillow;
and the screen of `top` needs textual.

## What holds for all commands

- Errors are one line on standard error: the command, the object, what disagrees, and the cure.
- The exit status is 0 on success, 1 after an error, 2 when the command line makes no sense,
  and 130 after Ctrl-C.
  `doctor` ends with 1 while something remains to be mended;
  `locks`, `top` and `why`, when there is a segment that they cannot look at.
- A command whose output nobody reads any more (`| head -1`) ends quietly with status 0;
  `read --follow`, `echo`, `hz` and the like do so at their next look.
- `--json` prints one object per line, with sizes in bytes and times in ISO 8601.
- Colour appears on terminals only, and never when `NO_COLOR` is set.
- Sizes are bytes, or have a unit as in `truncate(1)`:
  `64K` and `1MiB` are powers of 1024, `2kB` of 1000, `0x1000` is hexadecimal.
- Durations are seconds, or have a unit: `500ms`, `1s`, `2m`, `1h`.
- A file that belongs neither to you nor to root is not opened, and neither is a symbolic link,
  because whoever controls it can change or truncate it under you;
  `--any-owner` and `--follow-symlinks` accept them.

## Completion

click completes commands, options, and the names of your regions.
For bash, put the first line into `~/.bashrc`;
for zsh, the second into `~/.zshrc`;
for fish, the third into `~/.config/fish/completions/samemap.fish`.

```sh
eval "$(_SAMEMAP_COMPLETE=bash_source samemap)"
eval "$(_SAMEMAP_COMPLETE=zsh_source samemap)"
_SAMEMAP_COMPLETE=fish_source samemap | source
```
"""


def render() -> str:
    """Return the text of docs/cli.md.

    Returns:
        Markdown: an introduction, and the help of each command.

    Example:
        >>> "## `samemap write`" in render()
        True
    """
    return "\n".join([INTRODUCTION, *_sections(commands, None)])


def _sections(command: click.Command, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(
        command, parent, command.name, terminal_width=WIDTH, color=False, **command.context_settings
    )
    yield f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None  # noqa: S101 - it was just listed
            yield from _sections(found, context)


if __name__ == "__main__":
    click.echo(render(), nl=False)
