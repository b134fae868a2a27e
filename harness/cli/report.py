"""`harness report`: prints the answer of a stored run and writes its reports again."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.completion import results

__all__ = ["EXPORT", "report", "show_run"]


EXPORT = click.option(
    "--export",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help="Write every plot as SVG and PNG, and every table as CSV, into this directory too.",
)


def show_run(path: Path, into: Path | None = None, export: Path | None = None) -> None:
    """Print the answer of a run and write report.html and report.md."""
    from harness.report.publish import publish_run
    from harness.report.terminal import print_findings

    published = publish_run(path, into)
    print_findings(published.findings)
    for file in (published.html, published.markdown):
        click.echo(f"report: {file}")
    if export is not None:
        from harness.report.export import export_run

        click.echo(f"export: {len(export_run(published.findings, export))} files in {export}")


@click.command()
@click.argument("run", type=click.Path(path_type=Path), shell_complete=results)
@click.option("--into", type=click.Path(path_type=Path), help="Directory for the reports; default: the run's own.")
@EXPORT
def report(run: Path, into: Path | None, export: Path | None) -> None:
    """Print the answer of a stored run and write report.html and report.md.

    RUN is a run's directory, or a scenario's for its newest run. The page needs no network and can be forwarded.
    """
    show_run(run, into, export)
