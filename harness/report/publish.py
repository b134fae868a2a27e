"""Writes the reports of a run into its own directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.examine import examine
from harness.report.files import write_report
from harness.report.markdown import run_markdown
from harness.report.run_page import run_page
from harness.store.run import load_run

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from harness.report.findings import Findings

__all__ = ["Published", "publish_run"]


@dataclass(frozen=True, slots=True)
class Published:
    """What was found and where it was written: report.html and report.md."""

    findings: Findings
    html: Path
    markdown: Path


def publish_run(path: str | os.PathLike[str], into: Path | None = None) -> Published:
    """Examine a run (its directory, or its scenario's for the newest run) and write its reports.

    Args:
        path: as for load_run.
        into: directory to write to; the run's own where None.

    Raises BadInput, DamagedResult as load_run does.
    """
    run = load_run(path)
    findings = examine(run)
    directory = into or run.path
    published = Published(findings, directory / "report.html", directory / "report.md")
    write_report(published.html, run_page(findings))
    write_report(published.markdown, run_markdown(findings))
    return published
