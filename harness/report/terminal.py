"""The report in a terminal: warnings, the answer, and the tables that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from harness.report.answer import answer
from harness.report.tables import Table, run_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.report.answer import Answer
    from harness.report.findings import Findings

__all__ = ["print_findings", "print_report", "print_table"]

#: Tables a terminal gets, and the width from which it gets their detail columns.
_SHOWN = ("releases", "memory-verdicts", "latency", "delivery", "deaf", "recovery", "resources", "links")
_WIDE = 150


def print_findings(findings: Findings, console: Console | None = None) -> None:
    """Print warnings, answer and tables; a narrow terminal gets fewer columns, never broken lines of figures."""
    print_report(answer(findings), [table for table in run_tables(findings) if table.id in _SHOWN], console)


def print_report(said: Answer, tables: Sequence[Table], console: Console | None = None) -> None:
    """Print what a report says, and tables below it."""
    console = console or Console()
    for warning in said.warnings:
        console.print(Text.assemble(("! ", "bold yellow"), (warning, "yellow")))
    if said.warnings:
        console.print()
    for sentence in said.sentences:
        console.print(Padding(Text(sentence), (0, 0, 0, 2)))
    for table in tables:
        console.print()
        print_table(table, console)


def print_table(table: Table, console: Console | None = None) -> None:
    """Print one table."""
    console = console or Console()
    for line in _lines(table, detailed=console.width >= _WIDE):
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def _lines(table: Table, *, detailed: bool) -> Iterator[Text]:
    """The table as lines: a heading per group, its rows below, columns aligned over all groups."""
    chosen = [at for at, c in enumerate(table.shown) if at >= table.lead and (detailed or not c.detail)]
    columns = [table.shown[at] for at in chosen]
    rows = [(table.group(texts) if table.lead else "", [texts[at] for at in chosen]) for texts in table.texts()]
    widths = [max([len(c.name), *(len(cells[at]) for _, cells in rows)]) for at, c in enumerate(columns)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(cells, widths, columns, strict=True)
        ]
        return ("  " if table.lead else "") + "  ".join(padded).rstrip()

    yield Text(table.title, "bold")
    yield Text(line([column.name for column in columns]), "dim")
    before = ""
    for group, cells in rows:
        if group != before:
            yield Text(group, "italic")
            before = group
        yield Text(line(cells))
