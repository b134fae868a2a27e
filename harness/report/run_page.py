"""The HTML report of one run: which sections it has and what stands in them."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from harness.report import numbers
from harness.report.answer import answer
from harness.report.compare_text import compare_tables
from harness.report.compared import compare_systems
from harness.report.page import Section, facts_html, page, plots_html, section, table_html
from harness.report.plots.distribution import pair_distributions, system_distributions
from harness.report.plots.doses import dose_plots
from harness.report.plots.floors import floor_plots
from harness.report.plots.forest import forest_plots
from harness.report.plots.growth import growth_plots
from harness.report.plots.memory import memory_plots
from harness.report.plots.site_map import site_maps
from harness.report.plots.sweep import sweep_plots
from harness.report.plots.timeline import event_list, timeline_plots
from harness.report.tables import run_tables

if TYPE_CHECKING:
    from harness.report.findings import Findings
    from harness.report.plots.canvas import Plot

__all__ = ["run_page"]

#: More plots of one kind than this would bury the rest; the tables have every figure.
_MOST_PLOTS = 12


def run_page(findings: Findings) -> str:
    """The report as one HTML document."""
    tables = {table.id: table_html(table) for table in run_tables(findings)}

    def table(name: str) -> str:
        return tables.get(name, "")

    sections: list[Section] = [
        section("releases", "Release by release", table("releases")),
        section(
            "leaks",
            "Does the client leak",
            _plots(dose_plots(findings.memory)) + table("memory-verdicts") + table("memory-attribution"),
        ),
        section("growth", "Growth of the load", _plots(growth_plots(findings)) + table("growth")),
        section("floors", "Floor beside measured latency", _plots(floor_plots(findings)) + table("latency")),
        section("verdicts", "System against system", _verdicts(findings)),
        section("sweep", "Along the sweep", _plots(sweep_plots(findings))),
        section("fanouts", "Fanouts", table("fanouts")),
        section("map", "Sites and links", _plots(site_maps(findings)) + table("links")),
        section(
            "distribution",
            "How latency is distributed",
            _plots(system_distributions(findings)) + _plots(pair_distributions(findings)),
        ),
        section("time", "Latency over time", _plots(timeline_plots(findings)) + _events(findings)),
        section("recovery", "Faults and recovery", table("recovery")),
        section("memory", "Memory and CPU", _plots(memory_plots(findings)) + table("resources")),
        section(
            "delivery-s", "Delivery", table("delivery") + table("deaf") + table("failures") + table("delivery-pairs")
        ),
        section(
            "details", "All figures", table("percentiles") + table("doubts") + table("cells") + table("memory-evidence")
        ),
        section("provenance", "What ran", facts_html(findings.provenance)),
    ]
    subtitle = f"Run {findings.run}, {_day(findings.started)}. {_how_much(findings)}."
    return page(findings.title or findings.scenario, subtitle, answer(findings), sections)


def _how_much(findings: Findings) -> str:
    """ "2 systems at 3 points, 5 repetitions"; cells that were given doses count like those under load."""
    ran = [(system.name, system.point) for system in findings.systems]
    ran += [(found.system, found.point) for found in findings.memory]
    points = len({repr(sorted(point.items())) for _, point in ran if point})
    at = f" at {numbers.plural(points, 'point')}" if points else ""
    repetitions = numbers.plural(findings.repetitions, "repetition")
    return f"{numbers.plural(len({name for name, _ in ran}), 'system')}{at}, {repetitions}"


def _day(instant: str) -> str:
    """ "2026-11-22T17:24:20.863Z" as "22 November 2026, 17:24 UTC"."""
    return f"{datetime.fromisoformat(instant):%-d %B %Y, %H:%M} UTC"


def _verdicts(findings: Findings) -> str:
    comparison = compare_systems(findings)
    if comparison is None:
        return ""
    return _plots(forest_plots(comparison)) + "".join(table_html(table) for table in compare_tables(comparison))


def _plots(plots: list[Plot]) -> str:
    if not plots:
        return ""
    left_out = len(plots) - _MOST_PLOTS
    note = f"{numbers.plural(left_out, 'more plot')} left out; the tables have every figure." if left_out > 0 else ""
    return plots_html(plots[:_MOST_PLOTS], note)


def _events(findings: Findings) -> str:
    events = event_list(findings)
    if not events:
        return ""
    rows = "".join(f"<li>{escape(f'{instant:.1f} s: {what}')}</li>" for instant, what in events)
    return f'<p class="note">Events, numbered as in the plots:</p><ol class="events">{rows}</ol>'
