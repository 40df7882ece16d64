"""Measure samemap against its peers and the physical limit, in one run: ``make bench``."""

from __future__ import annotations

import bell
import click
import locks
import report
import starting
import words

PARTS = {"bell": bell.measure, "words": words.measure, "locks": locks.measure, "starting": starting.measure}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(sorted(PARTS)))
@click.option("--write", is_flag=True, help="Put the table into README.md and benchmarks/README.md.")
def main(parts: tuple[str, ...], write: bool) -> None:
    """Measure PARTS, or all of them, and print a table of ratios."""
    figures: list[report.Figure] = []
    for name, measure in PARTS.items():
        if not parts or name in parts:
            click.echo(f"measuring: {name}", err=True)
            figures += measure()
    click.echo(report.table(figures))
    if write and parts:
        raise click.UsageError("--write needs all parts: the documents show one whole run")
    if write:
        report.write(figures)


main()
