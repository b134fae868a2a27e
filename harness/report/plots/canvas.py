"""From a matplotlib figure to an SVG that belongs on a web page: CSS-variable colours, real text, few bytes."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.figure import Figure

from harness.report.theme import LIGHT, css_variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

__all__ = ["WIDTH", "Plot", "blank_axes", "canvas", "colour", "draw_events", "plain_axes", "with_png", "wrap_svg"]

#: Width of every plot in its own units (CSS pixels at natural size): readable on a phone, three abreast on a desk.
WIDTH = 360


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
    height: float = 250,
    left: float = 40,
    legend_rows: int = 1,
    wide: bool = False,
) -> Iterator[_Canvas]:
    """A figure to draw on; `canvas.plot()` after the block is the picture.

    The layout is fixed, not fitted: fitting would draw every picture twice.

    Args:
        plot_id, title, description: see Plot.
        height: of the whole picture.
        left: room for what stands left of the vertical axis.
        legend_rows: lines the legend takes at the bottom.
        wide: see Plot.
    """
    with mpl.rc_context({**_STYLE, **_colours(), "svg.hashsalt": plot_id}):
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        figure.text(2 / WIDTH, 1 - 13 / height, title, fontsize=12, fontweight="bold")
        bottom = _BELOW_AXES + _LEGEND_ROW * legend_rows
        box = (
            left / WIDTH,
            bottom / height,
            (WIDTH - left - _RIGHT) / WIDTH,
            max(1, height - bottom - _ABOVE_AXES) / height,
        )
        drawn = _Canvas(plot_id, title, description, figure, box, wide)
        yield drawn
        drawn.render()


#: Room around the axes: for the title and the unit above, tick labels and the axis' name below, the last label right.
_ABOVE_AXES, _BELOW_AXES, _RIGHT, _LEGEND_ROW = 40.0, 38.0, 12.0, 16.0


class _Canvas:
    def __init__(
        self,
        plot_id: str,
        title: str,
        description: str,
        figure: Figure,
        box: tuple[float, float, float, float],
        wide: bool,
    ) -> None:
        self._about = (plot_id, title, description)
        self._wide = wide
        self.figure = figure
        self.axes: Axes = figure.add_axes(box)
        self._svg = ""
        self._png = b""

    def legend(self, columns: int = 3) -> None:
        """The legend, below everything else."""
        height = self.figure.get_figheight() * 72
        self.figure.legend(
            loc="lower left", bbox_to_anchor=(2 / WIDTH, 2 / height), ncols=columns, borderaxespad=0, borderpad=0
        )

    def render(self) -> None:
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


def blank_axes(axes: Axes, width: float, height: float) -> Axes:
    """Axes over the whole picture, in picture units from its upper left corner, with nothing of axes to be seen."""
    axes.set_position((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return axes


def plain_axes(axes: Axes, *, x: str, y: str) -> None:
    """Axis names, the vertical one lying on top of its axis, and only horizontal grid lines."""
    axes.text(0, _offset(axes, below=-31), x, transform=axes.transAxes, color=colour("muted"))
    axes.text(0, _offset(axes, below=6, top=True), y, transform=axes.transAxes, color=colour("muted"))
    axes.grid(visible=False, axis="x")


def _offset(axes: Axes, *, below: float, top: bool = False) -> float:
    """A distance from the axes' lower (or upper) edge in picture units, as matplotlib's axes fraction."""
    height = axes.get_position().height * axes.get_figure(root=True).get_figheight() * 72  # type: ignore[union-attr]
    return (1 if top else 0) + below / height


def draw_events(axes: Axes, instants: list[float]) -> None:
    """Vertical lines at events, numbered; the numbers are explained under the plots."""
    for number, instant in enumerate(instants, 1):
        axes.axvline(instant, color=colour("muted"), linewidth=0.8, dashes=(2, 2))
        axes.annotate(
            str(number), (instant, 1), xycoords=("data", "axes fraction"), xytext=(2, -9), textcoords="offset points"
        ).set_fontsize(9)


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
