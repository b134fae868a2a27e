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
_SHOWN = (
    "releases",
    "memory-verdicts",
    "memory-attribution",
    "growth",
    "latency",
    "fanouts",
    "delivery",
    "deaf",
    "recovery",
    "failures",
    "resources",
    "links",
    "cells",
)


def run_markdown(findings: Findings) -> str:
    """A run's report."""
    tables = [table for table in run_tables(findings) if table.id in _SHOWN]
    about = f"Run `{findings.run}`, started {findings.started}, harness {findings.provenance['Run']['harness']}."
    again = str(findings.provenance["Run"]["to run it again"])
    return markdown(findings.title or findings.scenario, about, answer(findings), tables, again)


def markdown(title: str, about: str, said: Answer, tables: Sequence[Table], again: str) -> str:
    """Title, warnings as a quotation, the answer as a list, then the tables and the command that does it again."""
    blocks = [f"# {_escape(title)}"]
    blocks += [f"> **Warning.** {_escape(text)}" for text in said.warnings]
    blocks += ["\n".join(f"- {_escape(text)}" for text in said.sentences), about]
    blocks += [table_markdown(table) for table in tables]
    blocks += ["## To do it again", _code(again)]
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


def _code(command: str) -> str:
    """A command as a block to copy; as plain text where it could end the block or be taken for markup."""
    return _escape(command) if any(sign in command for sign in "`<\n") else f"```sh\n{command}\n```"


def _escape(text: str) -> str:
    """Text that Markdown must not take for markup or for the end of a table cell."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())
