"""The report in a terminal: warnings, the answer, and the tables that fit."""

from __future__ import annotations

from textwrap import wrap
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
    from harness.report.tables import Column

__all__ = ["print_findings", "print_report", "print_table"]

#: Tables a terminal gets, and the width from which it gets their detail columns.
_SHOWN = ("releases", "memory-verdicts", "latency", "delivery", "deaf", "recovery", "resources", "links")
_WIDE = 150
_GAP = "  "


def print_findings(findings: Findings, console: Console | None = None) -> None:
    """Print warnings, answer and tables; a narrow terminal gets fewer columns, never broken figures."""
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
    """Print one table; where it is wider than the terminal, words wrap inside their column and figures stay whole."""
    console = console or Console()
    for line in _lines(table, console.width):
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def _lines(table: Table, width: int) -> Iterator[Text]:
    """The table as lines: a heading per group, its rows below, columns aligned over all groups."""
    detailed = width >= _WIDE
    chosen = [at for at, c in enumerate(table.shown) if at >= table.lead and (detailed or not c.detail)]
    columns = [table.shown[at] for at in chosen]
    rows = [(table.group(texts) if table.lead else "", [texts[at] for at in chosen]) for texts in table.texts()]
    indent = "  " if table.lead else ""
    widths = _widths(columns, [cells for _, cells in rows], width - len(indent))

    def lines(cells: Sequence[str], *, bottom: bool = False) -> Iterator[str]:
        wrapped = [wrap(text, w) or [""] for text, w in zip(cells, widths, strict=True)]
        height = max(map(len, wrapped))
        empty = [[""] * (height - len(parts)) for parts in wrapped]
        stacked = [[*e, *parts] if bottom else [*parts, *e] for parts, e in zip(wrapped, empty, strict=True)]
        for at in range(height):
            padded = [
                parts[at].rjust(w) if column.numeric else parts[at].ljust(w)
                for parts, w, column in zip(stacked, widths, columns, strict=True)
            ]
            yield (indent + _GAP.join(padded)).rstrip()

    yield from (Text(part, "bold") for part in wrap(table.title, width))
    yield from (Text(part, "dim") for part in lines([column.name for column in columns], bottom=True))
    before = ""
    for group, cells in rows:
        if group != before:
            yield from (Text(part, "italic") for part in wrap(group, width))
            before = group
        yield from map(Text, lines(cells))


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Of each column: what it wants; where that is too much, words are wrapped, the widest column's first."""
    texts = [[c.name, *(cells[at] for cells in rows)] for at, c in enumerate(columns)]
    widths = [max(map(len, own)) for own in texts]
    least = [
        max(len(part) for text in (c.name.split(), *(_parts(c, text) for text in own[1:])) for part in text)
        for c, own in zip(columns, texts, strict=True)
    ]
    room -= len(_GAP) * (len(columns) - 1)
    while sum(widths) > room:
        at = max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))
        if widths[at] <= least[at]:
            break
        widths[at] -= 1
    return widths


def _parts(column: Column, text: str) -> list[str]:
    """What of a cell must stay on one line: figures whole, text by words."""
    return [text] if column.numeric else text.split()
