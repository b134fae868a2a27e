"""The HTML and Markdown of a comparison, written in one call."""

from __future__ import annotations

import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.comparison import TOLERANCE
from harness.report.answer import Answer, warnings_of
from harness.report.compare_text import compare_tables, contrast_sentences
from harness.report.compared import Comparison, compare_findings
from harness.report.examine import examine
from harness.report.files import write_report
from harness.report.markdown import markdown
from harness.report.page import facts_html, page, plots_html, section, table_html
from harness.report.plots.forest import forest_plots
from harness.report.plots.sweep import sweep_plots
from harness.store.run import Run, load_run

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.report.findings import Findings
    from harness.report.plots.canvas import Plot

__all__ = ["PublishedComparison", "compare", "compare_answer", "compare_page", "compare_runs", "sweeps"]


@dataclass(frozen=True, slots=True)
class PublishedComparison:
    """What was compared, what it says, and where it was written: compare.html and compare.md."""

    comparison: Comparison
    said: Answer
    html: Path
    markdown: Path
    runs: tuple[Findings, ...]


def compare(
    *runs: Run | str | os.PathLike[str],
    axis: str | None = None,
    baseline: str | None = None,
    allow: Collection[str] = (),
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Compare what is in one run, or several runs; see compare_findings for the other arguments.

    Args:
        runs: loaded runs, or paths as load_run takes them.

    Raises BadInput, DamagedResult.
    """
    loaded = [run if isinstance(run, Run) else load_run(run) for run in runs]
    findings = [examine(run) for run in loaded]
    return compare_findings(findings, axis=axis, baseline=baseline, allow=allow, tolerance=tolerance)


def compare_runs(
    paths: Sequence[str | os.PathLike[str]],
    *,
    into: Path,
    axis: str | None = None,
    baseline: str | None = None,
    allow: Collection[str] = (),
    tolerance: float = TOLERANCE,
) -> PublishedComparison:
    """Compare runs (or what is in one run) and write the reports; see compare_findings for the arguments.

    Raises BadInput, DamagedResult.
    """
    # numpy and pyarrow let go of the interpreter for most of it.
    with ThreadPoolExecutor(max_workers=min(len(paths), os.cpu_count() or 1)) as pool:
        runs = list(pool.map(lambda path: examine(load_run(path)), paths))
    comparison = compare_findings(runs, axis=axis, baseline=baseline, allow=allow, tolerance=tolerance)
    said = compare_answer(comparison, runs)
    published = PublishedComparison(comparison, said, into / "compare.html", into / "compare.md", tuple(runs))
    write_report(published.html, compare_page(comparison, runs))
    title, about = _heading(comparison, runs)
    write_report(published.markdown, markdown(title, about, said, compare_tables(comparison)))
    return published


def compare_answer(comparison: Comparison, runs: Sequence[Findings]) -> Answer:
    """Stand-ins, faults and doubts of the runs first, then notes, then what each contrast shows."""
    warnings = dict.fromkeys(text for findings in runs for text in warnings_of(findings))
    sentences = [text for contrast in comparison.contrasts for text in contrast_sentences(contrast)]
    return Answer((*warnings, *comparison.notes), tuple(sentences) or ("Nothing could be compared.",))


def compare_page(comparison: Comparison, runs: Sequence[Findings]) -> str:
    """The comparison as one HTML document."""
    title, about = _heading(comparison, runs)
    swept = sweeps(runs)
    tables = "".join(table_html(table) for table in compare_tables(comparison))
    facts: dict[str, Mapping[str, Any]] = {"Comparison": _about(comparison, runs)}
    facts |= {f"{name} ({f.run})": values for f in runs for name, values in f.provenance.items()}
    sections = [
        section("effects", "Effects with their intervals", plots_html(forest_plots(comparison))),
        section("sweep", "Along the sweep", plots_html(swept) if swept else ""),
        section("metrics", "Metric by metric", tables),
        section("provenance", "What ran", facts_html(facts)),
    ]
    return page(title, about, compare_answer(comparison, runs), sections)


def sweeps(runs: Sequence[Findings]) -> list[Plot]:
    """The sweep plots of every run; where there are several, each names its run."""
    if len(runs) == 1:
        return sweep_plots(runs[0])
    return [
        plot
        for at, findings in enumerate(runs)
        for plot in sweep_plots(findings, prefix=f"sweep-{at}", of=f"{findings.scenario}/{findings.run}")
    ]


def _about(comparison: Comparison, runs: Sequence[Findings]) -> dict[str, Any]:
    """What was compared how, with the command that does it again (parts that may differ are named in the warnings)."""
    words = ["harness", "compare", *(f"results/{findings.scenario}/{findings.run}" for findings in runs)]
    words += ["--axis", comparison.axis, "--baseline", comparison.sides[0]]
    words += ["--tolerance", f"{comparison.tolerance * 100:g}"]
    return {
        "axis": comparison.axis,
        "baseline": comparison.sides[0],
        "sides": ", ".join(comparison.sides),
        "tolerance": f"{comparison.tolerance:.1%}",
        "to compare again": shlex.join(words),
    }


def _heading(comparison: Comparison, runs: Sequence[Findings]) -> tuple[str, str]:
    names = ", ".join(f"{findings.scenario}/{findings.run}" for findings in runs)
    versus = f"{comparison.sides[0]} against {' and '.join(comparison.sides[1:])}"
    return f"Compared by {comparison.axis}: {versus}", f"Baseline: {comparison.sides[0]}. Runs: {names}."
