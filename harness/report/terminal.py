"""The report in a terminal: warnings, the answer, and the tables that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from harness.report.answer import answer
from harness.report.tables import Table, run_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.answer import Answer
    from harness.report.findings import Findings

__all__ = ["print_findings", "print_report", "print_table"]

#: Tables a terminal gets, and the width from which it gets their detail columns.
_SHOWN = ("releases", "memory-verdicts", "latency", "delivery", "resources", "links")
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
    console.print(_rich(table, detailed=console.width >= _WIDE))


def _rich(table: Table, *, detailed: bool) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    chosen = [at for at, column in enumerate(table.shown) if detailed or not column.detail]
    for at in chosen:
        column = table.shown[at]
        shown.add_column(column.name, justify="right" if column.numeric else "left", no_wrap=True, header_style="dim")
    before: list[str] = []
    for texts in table.texts():
        cells = [texts[at] for at in chosen]
        # A value equal to the one above says nothing new in the leading columns; leaving it out shows the groups.
        lead = next((i for i, (new, old) in enumerate(zip(cells, before, strict=False)) if new != old), 0)
        shown.add_row(*("" if i < lead and not table.shown[chosen[i]].numeric else t for i, t in enumerate(cells)))
        before = cells
    return shown
