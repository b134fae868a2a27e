"""The report as Markdown: the same warnings, answer and tables, for a merge request or a wiki."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.answer import answer
from harness.report.tables import Table, run_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.answer import Answer
    from harness.report.findings import Findings

__all__ = ["markdown", "run_markdown", "table_markdown"]

#: Tables a Markdown reader gets; the others are for the page and the CSV files.
_SHOWN = ("releases", "memory-verdicts", "memory-attribution", "latency", "delivery", "resources", "links", "cells")


def run_markdown(findings: Findings) -> str:
    """A run's report."""
    tables = [table for table in run_tables(findings) if table.id in _SHOWN]
    about = f"Run `{findings.run}`, started {findings.started}, harness {findings.provenance['Run']['harness']}."
    return markdown(findings.title or findings.scenario, about, answer(findings), tables)


def markdown(title: str, about: str, said: Answer, tables: Sequence[Table]) -> str:
    """Title, warnings as a quotation, the answer as a list, then the tables."""
    blocks = [f"# {_escape(title)}"]
    blocks += [f"> **Warning.** {_escape(text)}" for text in said.warnings]
    blocks += ["\n".join(f"- {_escape(text)}" for text in said.sentences), about]
    blocks += [table_markdown(table) for table in tables]
    return "\n\n".join(blocks) + "\n"


def table_markdown(table: Table) -> str:
    """A table with its title and note."""
    rows = [
        _row([column.name for column in table.shown]),
        "|" + "|".join(" ---: " if column.numeric else " --- " for column in table.shown) + "|",
        *(_row(texts) for texts in table.texts()),
    ]
    return "\n".join([f"## {table.title}", "", table.note, "", *rows])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    """Text that Markdown must not take for markup or for the end of a table cell."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())
