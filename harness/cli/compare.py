"""`harness compare`: verdicts between systems, runs or points of a sweep."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.completion import axes, results
from harness.cli.report import EXPORT

__all__ = ["compare"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), shell_complete=results)
@click.option(
    "--axis", metavar="NAME", shell_complete=axes, help="What to compare: system, run, or an axis of the sweep."
)
@click.option("--baseline", metavar="NAME", help="The side others are compared with; default: the first.")
@click.option(
    "--allow", multiple=True, metavar="PART", help="A part that may differ too, e.g. machine; may be repeated."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100, min_open=True),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="Differences up to this are of no interest.",
)
@click.option("--into", type=click.Path(path_type=Path), help="Directory for the reports; default: the last run's own.")
@EXPORT
def compare(
    runs: tuple[Path, ...],
    axis: str | None,
    baseline: str | None,
    allow: tuple[str, ...],
    tolerance: float,
    into: Path | None,
    export: Path | None,
) -> None:
    """Compare the systems of one run, several runs, or the points of a sweep.

    Each RUN is a run's directory, or a scenario's for its newest run. Prints the verdicts and writes compare.html and
    compare.md, or compare-AXIS.html and compare-AXIS.md with --axis. Runs that differ in more than what is compared, or
    have nothing in common, are refused with the reason, and nothing is written.
    """
    from harness.report.compare_page import compare_runs
    from harness.report.terminal import print_report
    from harness.store.run import load_run

    done = compare_runs(
        runs,
        into=into or load_run(runs[-1]).path,
        axis=axis,
        baseline=baseline,
        allow=allow,
        tolerance=tolerance / 100,
    )
    print_report(done.said, done.tables)
    for file in (done.html, done.markdown):
        click.echo(f"report: {file}")
    if export is not None:
        from harness.report.export import export_comparison

        written = export_comparison(done.comparison, done.runs, done.tables, export)
        click.echo(f"export: {len(written)} files in {export}")
