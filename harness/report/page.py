"""One self-contained HTML page: no request, everything in it; readable on a phone, in the dark, on paper.

Its only script makes files of the plots, so that each plot stands in the page once.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from harness.report.theme import css_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.answer import Answer
    from harness.report.plots.canvas import Plot
    from harness.report.tables import Column, Table

__all__ = ["Section", "facts_html", "page", "plots_html", "section", "table_html"]

Section = tuple[str, str, str]


def _data(text: str, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(text.encode()).decode()}"


def table_html(table: Table) -> str:
    """A captioned table that scrolls sideways on its own, with its CSV."""
    shown = table.shown[table.lead :]
    head = "".join(f'<th scope="col"{_classes(column)}>{escape(column.name)}</th>' for column in shown)
    bodies: list[str] = []
    group = ""
    for texts in table.texts():
        if table.lead and table.group(texts) != group:
            group = table.group(texts)
            heading = f'<th scope="rowgroup" colspan="{len(shown)}">{escape(group)}</th>'
            bodies.append(f'</tbody><tbody><tr class="group">{heading}</tr>')
        cells = zip(shown, texts[table.lead :], strict=True)
        bodies.append("<tr>" + "".join(_cell(at, column, text) for at, (column, text) in enumerate(cells)) + "</tr>")
    body = f"<tbody>{''.join(bodies)}</tbody>".replace("<tbody></tbody>", "")
    return (
        f'<figure class="table" id="{table.id}"><div class="scroll" role="region" tabindex="0" '
        f'aria-label="{escape(table.title)}, table"><table><caption>{escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead>{body}</table></div>"
        f"<figcaption>{escape(table.note)} "
        f'<a download="{table.id}.csv" href="{_data(table.csv(), "text/csv")}">{escape(table.title)} as CSV</a>'
        "</figcaption></figure>"
    )


def _cell(at: int, column: Column, text: str) -> str:
    """A cell; the first of a row says what the row is about."""
    tag, scope = ("th", ' scope="row"') if at == 0 else ("td", "")
    return f"<{tag}{scope}{_classes(column)}>{_text(text)}</{tag}>"


def _classes(column: Column) -> str:
    names = [name for name, has in (("n", column.numeric), ("d", column.detail)) if has]
    return f' class="{" ".join(names)}"' if names else ""


def _text(text: str) -> str:
    return '<span aria-label="none">–</span>' if text == "–" else escape(text)


def plots_html(plots: Sequence[Plot], note: str = "") -> str:
    """Plots side by side where there is room, each with its words and buttons that save it."""
    figures = "".join(
        f'<figure class="plot{" wide" if plot.wide else ""}">{plot.svg}<figcaption><details><summary>In words'
        f'<span class="hidden">: {escape(plot.title)}</span></summary>{escape(plot.description)}</details>'
        f"{_button(plot, 'svg')}{_button(plot, 'png')}</figcaption></figure>"
        for plot in plots
    )
    return f'<div class="plots">{figures}</div>' + (f'<p class="note">{escape(note)}</p>' if note else "")


def _button(plot: Plot, kind: str) -> str:
    return (
        f'<button type="button" data-as="{kind}" data-name="{plot.id}" hidden>{kind.upper()}'
        f'<span class="hidden"> of {escape(plot.title)}</span></button>'
    )


def facts_html(provenance: Mapping[str, Mapping[str, Any]]) -> str:
    """Facts by heading, the first open, the others folded."""
    blocks = []
    for at, (heading, facts) in enumerate(provenance.items()):
        rows = "".join(
            f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(_fact(value))}</td></tr>'
            for name, value in facts.items()
        )
        table = f'<table class="facts"><caption class="hidden">{escape(heading)}</caption><tbody>{rows}</tbody></table>'
        unfolded = " open" if at == 0 else ""
        blocks.append(f'<details class="facts"{unfolded}><summary>{escape(heading)}</summary>{table}</details>')
    return "".join(blocks)


def _fact(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def section(identifier: str, title: str, body: str) -> Section:
    """A part of the page with its entry in the contents."""
    return identifier, title, body


def page(title: str, subtitle: str, said: Answer, sections: Sequence[Section]) -> str:
    """The whole page: warnings, the answer, then the sections that have something in them."""
    kept = [part for part in sections if part[2]]
    style, script = (
        files("harness.report").joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    warnings = "".join(f'<li><strong class="hidden">Warning: </strong>{escape(text)}</li>' for text in said.warnings)
    sentences = "".join(f"<li>{escape(text)}</li>" for text in said.sentences)
    contents = "".join(f'<li><a href="#{identifier}">{escape(name)}</a></li>' for identifier, name, _ in kept)
    parts = "".join(
        f'<section id="{identifier}" aria-labelledby="{identifier}-h">'
        f'<h2 id="{identifier}-h">{escape(name)}</h2>{body}</section>'
        for identifier, name, body in kept
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><style id="tokens">{css_variables()}</style><style>{style}</style></head>'
        '<body><a class="skip" href="#answer">To the answer</a>'
        f'<header><h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p></header><main>'
        + (f'<section class="warnings" aria-label="Warnings"><ul>{warnings}</ul></section>' if warnings else "")
        + f'<section id="answer" aria-label="Answer"><ul class="answer">{sentences}</ul></section>'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>{parts}</main>'
        + (f"<script>{script}</script>" if "data-as" in parts else "")
        + "</body></html>\n"
    )
