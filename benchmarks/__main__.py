"""Measure samemap against its peers and the physical limit, in one run: ``make bench``."""

from __future__ import annotations

from pathlib import Path

import bell
import click
import locks
import queues
import report
import starting
import topics
import words

PARTS = {"bell": bell.measure, "words": words.measure, "locks": locks.measure, "starting": starting.measure}
#: What is measured by itself, against peers that have to be installed, and has a table of its own.
BY_ITSELF = {"queues": queues, "topics": topics}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(sorted(PARTS | BY_ITSELF)))
@click.option("--write", is_flag=True, help="Put the tables into README.md and benchmarks/README.md.")
def main(parts: tuple[str, ...], write: bool) -> None:
    """Measure PARTS, or all of them but queues and topics, and print a table of ratios.

    queues and topics are measured when they are asked for: with their peers, that takes some minutes.
    """
    chosen = parts or tuple(PARTS)
    figures: list[report.Figure] = []
    for name in chosen:
        if name in PARTS:
            click.echo(f"measuring: {name}", err=True)
            figures += PARTS[name]()
    if figures:
        click.echo(report.table(figures))
    if write and figures and not set(PARTS) <= set(chosen):
        raise click.UsageError("--write needs all parts but queues and topics: the documents show one whole run")
    if write and figures:
        report.write(figures)
    for name in chosen:
        if name in BY_ITSELF:
            click.echo(f"measuring: {name}", err=True)
            module = BY_ITSELF[name]
            found = module.measure()
            click.echo(report.table(found))
            for note in module.notes():
                click.echo(f"- {note}")
            if write:
                report.write(found, name, module.notes())
            if write and module is topics:
                topics.draw(Path(__file__).with_name("latency.png"))


main()
