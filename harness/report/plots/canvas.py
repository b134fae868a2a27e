"""From a matplotlib figure to an SVG that belongs on a web page: CSS-variable colours, real text, few bytes."""

from __future__ import annotations

import io
import math
import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from harness.report.theme import LIGHT, css_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.text import Text

__all__ = [
    "NAME_ROW",
    "WIDTH",
    "Plot",
    "canvas",
    "colour",
    "draw_events",
    "lines_of",
    "text_width",
    "with_png",
    "wrap_svg",
    "wrapped",
]

#: Width of every plot in its own units (CSS pixels at natural size): readable on a phone, three abreast on a desk.
WIDTH = 360
#: What a line of a tick label on the vertical axis takes in height.
NAME_ROW = 14


@dataclass(frozen=True, slots=True)
class Plot:
    """A finished picture.

    Attributes:
        id: identifier, unique in a report.
        title: what it shows.
        description: the same in words, for who cannot see it and for the caption.
        svg: the <svg> element.
        wide: whether it deserves the full width of the page.
        png: the same as PNG, for plots drawn within `with_png`.
    """

    id: str
    title: str
    description: str
    svg: str
    wide: bool = False
    png: bytes = b""

    def standalone(self) -> str:
        """The picture as a file of its own, with its colours in it."""
        style = f"<style>{css_variables()}svg{{background:var(--paper);font-family:system-ui,sans-serif}}</style>"
        return re.sub(r"(<svg[^>]*>)", rf"\1{style}", self.svg, count=1)


# matplotlib wants colours, the page wants variables: each token is drawn in a colour nothing else uses.
_PLACEHOLDERS = {token: f"#fe{at:02x}01" for at, token in enumerate(LIGHT)}


#: Whether plots are drawn as PNG too, which takes as long again.
_PNG: ContextVar[bool] = ContextVar("png", default=False)
_PNG_DPI = 192


@contextmanager
def with_png() -> Iterator[None]:
    """Plots drawn within it are PNG too, in the colours of light paper."""
    before = _PNG.set(True)
    try:
        yield
    finally:
        _PNG.reset(before)


def colour(token: str) -> str:
    """The drawing colour that becomes `var(--token)`."""
    return _PLACEHOLDERS[token]


_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-9, 9),
    "font.size": 11,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.7,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
    "legend.labelspacing": 0.3,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}


def _colours() -> Any:
    return {
        "text.color": colour("ink"),
        "axes.labelcolor": colour("muted"),
        "axes.edgecolor": colour("line"),
        "xtick.color": colour("line"),
        "ytick.color": colour("line"),
        "xtick.labelcolor": colour("muted"),
        "ytick.labelcolor": colour("muted"),
        "grid.color": colour("faint"),
    }


@contextmanager
def canvas(
    plot_id: str,
    title: str,
    description: str,
    *,
    height: float = 156,
    wide: bool = False,
) -> Iterator[_Canvas]:
    """A figure to draw on; `canvas.plot()` after the block is the picture.

    Whatever is written around the axes is measured once and gets the room it takes: the picture grows downwards.

    Args:
        plot_id, title, description: see Plot.
        height: of the axes alone.
        wide: see Plot.
    """
    with mpl.rc_context({**_STYLE, **_colours(), "svg.hashsalt": plot_id}):
        figure = Figure(figsize=(WIDTH / 72, (_ABOVE_AXES + height) / 72), dpi=72)
        FigureCanvasAgg(figure)
        drawn = _Canvas(plot_id, title, description, figure, height, wide)
        yield drawn
        drawn.render()


#: Room around the axes: above for the title and the unit, left and right to the frame, lines of small print.
_ABOVE_AXES, _LEAST_LEFT, _RIGHT, _EDGE, _TITLE_ROW, _TEXT_ROW = 40.0, 40.0, 12.0, 2.0, 15.0, 14.0
_TEXT, _TITLE = 11, 12
#: From the axes down to the baseline of the first tick label, and from the last line of one thing to the next.
_TICKS_BELOW, _NEXT = 13.0, 17.0
#: What a legend's line and the space after it take, and what is between its columns.
_HANDLE, _BETWEEN_COLUMNS = 33.5, 15.5
#: Between a tick label and its axis.
_TICK_PAD = 4.0


class _Canvas:
    def __init__(
        self, plot_id: str, title: str, description: str, figure: Figure, axes_height: float, wide: bool
    ) -> None:
        self._about = (plot_id, title, description)
        self._wide = wide
        self._axes_height = axes_height
        self._names = ("", "")
        self._key = False
        self._blank = False
        self.figure = figure
        self.axes: Axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        self._svg = ""
        self._png = b""

    def blank(self) -> Axes:
        """Axes over the whole picture, in picture units from its upper left corner, with nothing of axes to be seen."""
        self._blank = True
        self.axes.set_xlim(0, WIDTH)
        self.axes.set_ylim(self._axes_height, 0)
        self.axes.set_axis_off()
        return self.axes

    def name_axes(self, *, x: str, y: str) -> None:
        """Axis names, the vertical one lying on top of its axis, and only horizontal grid lines."""
        self._names = (x, y)
        self.axes.grid(visible=False, axis="x")

    def legend(self) -> None:
        """The legend, below everything else."""
        self._key = True

    def render(self) -> None:
        self._lay_out()
        out = io.StringIO()
        self.figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        self._svg = _for_the_page(out.getvalue(), *self._about)
        if _PNG.get():
            _paint(self.figure)
            pixels = io.BytesIO()
            self.figure.savefig(
                pixels, format="png", dpi=_PNG_DPI, facecolor=LIGHT["paper"], metadata={"Software": None}
            )
            self._png = pixels.getvalue()

    def plot(self) -> Plot:
        """The finished picture."""
        return Plot(*self._about, self._svg, self._wide, self._png)

    def _lay_out(self) -> None:
        """Title, axes, names and legend below each other, each as high as its text turns out."""
        _, title, _ = self._about
        heading = wrapped(title, WIDTH - 2 * _EDGE, size=_TITLE, bold=True)
        if self._blank:
            self._place(0, WIDTH, 0, self._axes_height, self._axes_height)
            self._write(_EDGE, 13, heading, fontsize=_TITLE, fontweight="bold")
            return
        top = _ABOVE_AXES + _TITLE_ROW * (len(heading) - 1)
        unit = wrapped(self._names[1], WIDTH - 2 * _EDGE)
        top += _TEXT_ROW * (len(unit) - 1)
        bottom = top + self._axes_height
        left, right = self._fit_sides(top, bottom)
        below = bottom + _TICKS_BELOW + _TEXT_ROW * (self._thin_out_ticks() - 1)
        name = wrapped(self._names[0], WIDTH - left - _EDGE) if self._names[0] else []
        name_at = below + _NEXT
        end = name_at + _TEXT_ROW * (len(name) - 1) if name else below
        legend = self._make_legend()
        height = math.ceil(end + 8 + (legend.get_window_extent().height + 4 if legend else 0))
        self._place(left, right, top, bottom, height)
        if legend:
            legend.set_bbox_to_anchor((_EDGE / WIDTH, _EDGE / height))
        self._write(_EDGE, 13, heading, fontsize=_TITLE, fontweight="bold")
        muted: Any = {"fontsize": _TEXT, "color": colour("muted")}
        self._write(
            _EDGE if left > 2 * _LEAST_LEFT else left, top - 6 - _TEXT_ROW * (len(unit) - 1), unit, height, **muted
        )
        self._write(left, name_at, name, height, **muted)

    def _write(self, x: float, y: float, lines: Sequence[str], height: float | None = None, **style: Any) -> None:
        height = height or self.figure.get_figheight() * 72
        row = _TITLE_ROW if style["fontsize"] == _TITLE else _TEXT_ROW
        for at, line in enumerate(lines):
            self.figure.text(x / WIDTH, 1 - (y + row * at) / height, line, **style)

    def _place(self, left: float, right: float, top: float, bottom: float, height: float) -> None:
        self.figure.set_size_inches(WIDTH / 72, height / 72)
        self.axes.set_position((left / WIDTH, 1 - bottom / height, (right - left) / WIDTH, (bottom - top) / height))

    def _fit_sides(self, top: float, bottom: float) -> tuple[float, float]:
        """Where the axes begin and end, so that no tick label leaves the frame."""
        left, right = _LEAST_LEFT, WIDTH - _RIGHT
        self._place(left, right, top, bottom, bottom)
        widest = max((_label_width(text) for text in self.axes.get_yticklabels()), default=0.0)
        left = max(left, _EDGE + widest + _TICK_PAD)
        self._place(left, right, top, bottom, bottom)
        end = max((at + _label_width(text) / 2 for at, text in self._shown_ticks()), default=0.0)
        right -= max(0.0, end - (WIDTH - _EDGE))
        self._place(left, right, top, bottom, bottom)
        return left, right

    def _shown_ticks(self) -> list[tuple[float, Text]]:
        """Where in the picture each tick label of the horizontal axis stands, from left to right."""
        axis = self.axes.xaxis
        low, high = sorted(self.axes.get_xlim())
        slack = (high - low) * 1e-6
        labels = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
        shown = [(at, text) for at, text in labels if text.get_text() and low - slack <= at <= high + slack]
        return sorted(((self.axes.transData.transform((at, 0))[0], text) for at, text in shown), key=lambda one: one[0])

    def _thin_out_ticks(self) -> int:
        """Hide tick labels that would run into the one before; returns the most lines a label has."""
        end, lines = -math.inf, 0
        for at, text in self._shown_ticks():
            half = _label_width(text) / 2
            text.set_visible(at - half >= end + 3)
            if text.get_visible():
                end, lines = at + half, max(lines, lines_of(text.get_text()))
        return lines

    def _make_legend(self) -> Legend | None:
        """The legend in as many columns as the frame takes, long names on several lines."""
        handles, labels = self.axes.get_legend_handles_labels() if self._key else ([], [])
        if not labels:
            return None
        room = WIDTH - 2 * _EDGE
        widths = [text_width(label) + _HANDLE for label in labels]

        def width(columns: int) -> float:
            parts = np.array_split(np.array(widths), columns)
            return float(sum(part.max() for part in parts)) + _BETWEEN_COLUMNS * (columns - 1)

        columns = next((n for n in range(min(4, len(labels)), 1, -1) if width(n) <= room), 1)
        names = ["\n".join(wrapped(label, room - _HANDLE)) for label in labels]
        return self.figure.legend(handles, names, loc="lower left", ncols=columns, borderaxespad=0, borderpad=0)


def _label_width(text: Text) -> float:
    return max(text_width(line) for line in text.get_text().split("\n"))


@lru_cache(maxsize=4096)
def text_width(text: str, *, size: float = _TEXT, bold: bool = False) -> float:
    """How wide a line is in picture units, in a font at least as wide as those of browsers."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def lines_of(name: str) -> int:
    """How many lines a name takes."""
    return name.count("\n") + 1


def wrapped(text: str, room: float, *, size: float = _TEXT, bold: bool = False) -> list[str]:
    """A text as lines that fit: broken where it is broken already, then at spaces, after punctuation, in words."""

    def fits(line: str) -> bool:
        return text_width(line.rstrip(), size=size, bold=bold) <= room

    lines: list[str] = []
    for part in text.split("\n"):
        line = ""
        for piece in _PIECES.findall(part):
            if not fits(line + piece) and line:
                lines.append(line.rstrip())
                line = ""
            while not fits(piece) and len(piece) > 1:
                end = next((at for at in range(len(piece) - 1, 1, -1) if fits(piece[:at])), 1)
                lines.append(piece[:end])
                piece = piece[end:]
            line += piece
        lines.append(line.rstrip())
    return lines


#: What stays on one line: up to a space (a no-break space is none) or a sign that ends a part of a name.
_PIECES = re.compile(r"[^ \-/,_]*[\-/,_]+ *|[^ \-/,_]+ *| +")


def _paint(figure: Figure) -> None:
    """Put the colours of light paper in the place of the placeholders, in every part that has a colour."""
    real = {to_rgba(placeholder)[:3]: to_rgba(LIGHT[token])[:3] for token, placeholder in _PLACEHOLDERS.items()}

    def painted(value: Any) -> Any:
        rows = to_rgba_array(value)
        return [(*real.get(tuple(row[:3]), tuple(row[:3])), row[3]) for row in rows]

    for artist in figure.findobj():
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            get, put = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if get is None or put is None:
                continue
            value = get()
            if isinstance(value, str) and value in ("none", "auto"):
                continue
            colours = painted(value)
            if colours:
                put(colours if isinstance(artist, Collection) else colours[0])


def draw_events(axes: Axes, instants: list[float]) -> None:
    """Vertical lines at events, numbered; the numbers are explained under the plots. Close ones share a label."""
    low, high = axes.get_xlim()
    low, high = min([low, *instants]), max([high, *instants])
    labels: list[list[int]] = []
    for number, instant in enumerate(instants, 1):
        axes.axvline(instant, color=colour("muted"), linewidth=0.8, dashes=(2, 2))
        if labels and instant - instants[labels[-1][0] - 1] < (high - low) * _LABEL_SHARE:
            labels[-1].append(number)
        else:
            labels.append([number])
    for numbers in labels:
        instant = instants[numbers[0] - 1]
        late = instant > high - (high - low) * _LABEL_SHARE
        axes.annotate(
            str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}",
            (instant, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-2 if late else 2, -9),
            textcoords="offset points",
            ha="right" if late else "left",
        ).set_fontsize(9)


#: Share of the horizontal axis a label of events takes.
_LABEL_SHARE = 0.1


def wrap_svg(plot_id: str, title: str, description: str, body: str, width: float, height: float) -> str:
    """An accessible <svg> element around drawn content."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-labelledby="{plot_id}-t {plot_id}-d"><title id="{plot_id}-t">{escape(title)}</title>'
        f'<desc id="{plot_id}-d">{escape(description)}</desc>{body}</svg>'
    )


_FONT = re.compile(r"font: (?:(?:normal|italic|oblique) )?(?P<weight>bold |\d{3} )?(?P<size>[\d.]+)px [^;\"]*")
#: Where a coordinate may lose digits; anything else, text above all, keeps the numbers it has.
_PLACED = re.compile(r'(?<=\s)(?:d|x|y|x1|y1|x2|y2|width|height|points|transform)="[^"]*"')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}")


_TAG = re.compile(r"<[^>]*>")


def _coarse(found: re.Match[str]) -> str:
    return _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), found[0])


def _font(found: re.Match[str]) -> str:
    weight = f"font-weight: {found['weight'].strip()}; " if found["weight"] else ""
    return f"{weight}font-size: {found['size']}px"


def _for_the_page(svg: str, plot_id: str, title: str, description: str) -> str:
    head = re.search(r'<svg[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>', svg)
    if head is None:
        raise ValueError("not an SVG of matplotlib's")
    body = svg[head.end() : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    body = _FONT.sub(_font, body)
    for token, placeholder in _PLACEHOLDERS.items():
        body = body.replace(placeholder, f"var(--{token})")
    body = _TAG.sub(lambda tag: _PLACED.sub(_coarse, tag[0]), body)
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    return wrap_svg(plot_id, title, description, body, float(head[1]), float(head[2]))
