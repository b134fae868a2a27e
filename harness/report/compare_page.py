"""The HTML and Markdown of a comparison, written in one call."""

from __future__ import annotations

import os
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.comparison import TOLERANCE
from harness.errors import BadInput
from harness.report.answer import Answer, warnings_of
from harness.report.compare_leaks import LeakComparison, compare_leaks, leak_sentences, leak_tables
from harness.report.compare_text import compare_tables, contrast_sentences, too_few
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
    from harness.report.tables import Table

__all__ = ["PublishedComparison", "compare", "compare_answer", "compare_page", "compare_runs", "sweeps"]

_AGAIN = "to compare again"


@dataclass(frozen=True, slots=True)
class PublishedComparison:
    """What was compared, what it says with which tables, and where it was written: compare.html and compare.md, or
    compare-AXIS.html and compare-AXIS.md where an axis was named."""

    comparison: Comparison
    said: Answer
    tables: tuple[Table, ...]
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
    return _compared(findings, axis, baseline, allow, tolerance)[0]


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

    Raises BadInput (nothing can be compared: then nothing is written), DamagedResult.
    """
    # numpy and pyarrow let go of the interpreter for most of it.
    with ThreadPoolExecutor(max_workers=min(len(paths), os.cpu_count() or 1)) as pool:
        runs = list(pool.map(lambda path: examine(load_run(path)), paths))
    comparison, leaks = _compared(runs, axis, baseline, allow, tolerance)
    said = compare_answer(comparison, runs, leaks)
    tables = (*leak_tables(leaks), *compare_tables(comparison))
    # Each axis has files of its own: comparing along another one keeps the first.
    name = "compare" + (f"-{re.sub(r'[^A-Za-z0-9._-]+', '-', axis)}" if axis else "")
    html, text = (into / f"{name}.{kind}" for kind in ("html", "md"))
    published = PublishedComparison(comparison, said, tables, html, text, tuple(runs))
    write_report(published.html, compare_page(comparison, runs, leaks, allow))
    title, about = _heading(comparison, runs)
    again = _about(comparison, runs, allow)[_AGAIN]
    write_report(published.markdown, markdown(title, about, said, tables, again))
    return published


def _compared(
    runs: Sequence[Findings], axis: str | None, baseline: str | None, allow: Collection[str], tolerance: float
) -> tuple[Comparison, LeakComparison]:
    """What cells under load and what doses show. Raises BadInput where neither can be compared."""
    loaded = [cell for findings in runs for cell in findings.cells if cell.state == "valid"]
    dosed = [finding for findings in runs for finding in findings.memory]
    if not dosed:
        comparison = compare_findings(runs, axis=axis, baseline=baseline, allow=allow, tolerance=tolerance)
        leaks = LeakComparison(comparison.axis, comparison.sides, (), ())
    elif not loaded:
        leaks = compare_leaks(runs, axis or _dosed_axis(runs), baseline=baseline, allow=allow)
        comparison = Comparison(leaks.axis, leaks.sides, (), tolerance, ())
    else:
        comparison = compare_findings(runs, axis=axis, baseline=baseline, allow=allow, tolerance=tolerance)
        leaks = compare_leaks(runs, comparison.axis, baseline=baseline, allow=allow)
    if not comparison.contrasts and not leaks.contrasts:
        only = f"there is only one {leaks.axis} to compare" if len(comparison.sides) < 2 else ""
        raise BadInput(
            only or "nothing of them can be compared: " + " ".join((*comparison.notes, *leaks.notes)),
            where=", ".join(f"{findings.scenario}/{findings.run}" for findings in runs),
            expected="two sides with something in common: the same workloads on the same sites, or the same doses",
            remedy="compare along another axis with --axis, or run both from one scenario",
        )
    return comparison, leaks


def _dosed_axis(runs: Sequence[Findings]) -> str:
    """The axis where none was named: as compare_findings chooses it, from what was given doses."""
    found = [finding for findings in runs for finding in findings.memory]
    axes = sorted({name for finding in found for name in finding.point})
    if len(runs) > 1:
        return "run"
    return "system" if len({finding.system for finding in found}) > 1 or not axes else axes[0]


def compare_answer(comparison: Comparison, runs: Sequence[Findings], leaks: LeakComparison | None = None) -> Answer:
    """What to know of the runs first, too few repetitions and notes with it; then who leaks, and each contrast."""
    warnings = dict.fromkeys(text for findings in runs for text in warnings_of(findings))
    sentences = [text for contrast in comparison.contrasts for text in contrast_sentences(contrast)]
    if leaks is not None:
        sentences = [*leak_sentences(leaks), *sentences]
    notes = dict.fromkeys((*comparison.notes, *(leaks.notes if leaks is not None else ())))
    return Answer(
        (*warnings, *too_few(comparison.contrasts), *notes), tuple(sentences) or ("Nothing could be compared.",)
    )


def compare_page(
    comparison: Comparison,
    runs: Sequence[Findings],
    leaks: LeakComparison | None = None,
    allow: Collection[str] = (),
) -> str:
    """The comparison as one HTML document."""
    title, about = _heading(comparison, runs)
    swept = sweeps(runs)
    forest = forest_plots(comparison)
    tables = "".join(table_html(table) for table in compare_tables(comparison))
    facts: dict[str, Mapping[str, Any]] = {"Comparison": _about(comparison, runs, allow)}
    facts |= {f"{name} ({f.run})": values for f in runs for name, values in f.provenance.items()}
    sections = [
        section("leaks", "Does it leak", "".join(map(table_html, leak_tables(leaks))) if leaks is not None else ""),
        section("effects", "Effects with their intervals", plots_html(forest) if forest else ""),
        section("sweep", "Along the sweep", plots_html(swept) if swept else ""),
        section("metrics", "Metric by metric", tables),
        section("provenance", "What ran", facts_html(facts)),
    ]
    return page(title, about, compare_answer(comparison, runs, leaks), sections)


def sweeps(runs: Sequence[Findings]) -> list[Plot]:
    """The sweep plots of every run; where there are several, each names its run."""
    if len(runs) == 1:
        return sweep_plots(runs[0])
    return [
        plot
        for at, findings in enumerate(runs)
        for plot in sweep_plots(findings, prefix=f"sweep-{at}", of=f"{findings.scenario}/{findings.run}")
    ]


def _about(comparison: Comparison, runs: Sequence[Findings], allow: Collection[str]) -> dict[str, Any]:
    """What was compared how, with the command that does it again."""
    words = ["harness", "compare", *(str(findings.provenance["Run"]["directory"]) for findings in runs)]
    words += ["--axis", comparison.axis, "--baseline", comparison.sides[0]]
    words += ["--tolerance", f"{comparison.tolerance * 100:g}"]
    words += [word for part in allow for word in ("--allow", part)]
    return {
        "axis": comparison.axis,
        "baseline": comparison.sides[0],
        "sides": ", ".join(comparison.sides),
        "tolerance": f"{comparison.tolerance:.1%}",
        _AGAIN: shlex.join(words),
    }


def _heading(comparison: Comparison, runs: Sequence[Findings]) -> tuple[str, str]:
    names = ", ".join(f"{findings.scenario}/{findings.run}" for findings in runs)
    versus = f"{comparison.sides[0]} against {' and '.join(comparison.sides[1:])}"
    return f"Compared by {comparison.axis}: {versus}", f"Baseline: {comparison.sides[0]}. Runs: {names}."
