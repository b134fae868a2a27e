"""`harness report`: prints the answer of a stored run and writes its reports again."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report", "show_run"]


def show_run(path: Path, into: Path | None = None) -> None:
    """Print the answer of a run and write report.html and report.md."""
    from harness.report.publish import publish_run
    from harness.report.terminal import print_findings

    published = publish_run(path, into)
    print_findings(published.findings)
    for file in (published.html, published.markdown):
        click.echo(f"report: {file}")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--into", type=click.Path(path_type=Path), help="Directory for the reports; default: the run's own.")
def report(run: Path, into: Path | None) -> None:
    """Print the answer of a stored run and write report.html and report.md."""
    show_run(run, into)
