"""Everything in a report as files of its own: plots as SVG and PNG, tables as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.compare_page import sweeps
from harness.report.compare_text import compare_tables
from harness.report.compared import compare_systems
from harness.report.files import place_for_files
from harness.report.plots.canvas import with_png
from harness.report.plots.distribution import pair_distributions, system_distributions
from harness.report.plots.doses import dose_plots
from harness.report.plots.floors import floor_plots
from harness.report.plots.forest import forest_plots
from harness.report.plots.growth import growth_plots
from harness.report.plots.memory import memory_plots
from harness.report.plots.site_map import site_maps
from harness.report.plots.sweep import sweep_plots
from harness.report.plots.timeline import timeline_plots
from harness.report.tables import run_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.report.compared import Comparison
    from harness.report.findings import Findings
    from harness.report.plots.canvas import Plot
    from harness.report.tables import Table

__all__ = ["export_comparison", "export_run"]


def export_run(findings: Findings, directory: Path) -> list[Path]:
    """Write every plot and table of a run's report, those the page leaves out for their number included.

    Returns:
        the files written.
    """
    comparison = compare_systems(findings)
    with with_png():
        plots = [
            *site_maps(findings),
            *floor_plots(findings),
            *(forest_plots(comparison) if comparison else []),
            *sweep_plots(findings),
            *system_distributions(findings),
            *pair_distributions(findings),
            *timeline_plots(findings),
            *memory_plots(findings),
            *dose_plots(findings.memory),
            *growth_plots(findings),
        ]
    return _write(plots, [*run_tables(findings), *(compare_tables(comparison) if comparison else [])], directory)


def export_comparison(
    comparison: Comparison, runs: Sequence[Findings], tables: Iterable[Table], directory: Path
) -> list[Path]:
    """Write every plot of a comparison of runs, their sweeps included, and its tables; returns the files written."""
    with with_png():
        plots = [*forest_plots(comparison), *sweeps(runs)]
    return _write(plots, tables, directory)


def _write(plots: Iterable[Plot], tables: Iterable[Table], directory: Path) -> list[Path]:
    written = []
    with place_for_files(directory):
        for plot in plots:
            for ending, content in (("svg", plot.standalone().encode()), ("png", plot.png)):
                written.append(directory / f"{plot.id}.{ending}")
                written[-1].write_bytes(content)
        for table in tables:
            written.append(directory / f"{table.id}.csv")
            written[-1].write_text(table.csv(), encoding="utf-8")
    return written
