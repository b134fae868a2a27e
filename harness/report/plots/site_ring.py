"""Many sites: a ring of them with their links, and a grid with the round-trip time of every pair.

On a map with a number on every link, four sites with a link between any two already write over each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from harness.report import numbers
from harness.report.plots.canvas import WIDTH, Plot, canvas, colour, text_width, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from harness.report.findings import LinkFinding

__all__ = ["link_grid", "site_ring"]

#: Of a site's name and of who stands there, in picture units.
_NAME, _RESIDENT = 11, 9
_ROW = 12.0
#: Half the ring's width, and what is left for names on either side of it.
_REACH = 74.0
_GAP = 6.0
#: What the picture's title takes.
_TOP = 20.0
_ROOM = WIDTH / 2 - _REACH - _GAP - 4
#: Widths of links, from the shortest round trip to the longest.
_NEAR, _FAR = 2.4, 0.5
#: Of the grid: its first column may take this share, and its figures have at most this size.
_NAMES_SHARE, _LEAST_NAMES = 0.3, 60.0
_FIGURE = 10


def site_ring(residents: Mapping[str, Sequence[str]], links: Sequence[LinkFinding]) -> Plot:
    """Sites around a ring, the first at the top; the nearer two are, the stronger their link.

    Args:
        residents: by site, what stands there.
        links: a pair is drawn once, whatever its delay was swept over.
    """
    written = {site: _written(site, lines) for site, lines in residents.items()}
    tallest = max(len(name) + len(lines) for name, lines in written.values()) * _ROW + 8
    rows = len(residents) // 2 + 1
    height = _TOP + (rows - 1) * max(tallest, 30.0) + 2 * tallest
    places = _around(list(residents), height, tallest)
    standing = "; ".join(f"{site}: {', '.join(lines) or 'nothing'}" for site, lines in residents.items())
    about = f"The stronger a line, the nearer its sites are. {_extremes(links)}{standing}."
    with canvas("map", "Sites and links", about, height=height, wide=True) as drawn:
        axes = drawn.blank()
        for (a, b), width in _widths(links).items():
            (x1, y1), (x2, y2) = places[a], places[b]
            axes.plot([x1, x2], [y1, y2], color=colour("muted"), linewidth=width, zorder=1)
        for site, (name, lines) in written.items():
            _label(axes, places[site], name, lines, below=places[site][1] > height / 2)
    return drawn.plot()


def _written(site: str, residents: Sequence[str]) -> tuple[list[str], list[str]]:
    name = wrapped(site, _ROOM, size=_NAME, bold=True)
    return name, [line for text in residents for line in wrapped(text, _ROOM, size=_RESIDENT)]


def _around(sites: Sequence[str], height: float, tallest: float) -> dict[str, tuple[float, float]]:
    """Places on an ellipse, at equal heights so that no name meets the next: down the right side and up the left."""
    last = len(sites) // 2
    right, left = sites[: last + 1], sites[last + 1 :]
    top, reach = _TOP + tallest, (height - _TOP) / 2 - tallest
    places = {}
    for side, column in ((1, right), (-1, left[::-1])):
        for at, site in enumerate(column):
            # Those on the left stand between the first and the last of the ring.
            down = at / last if side > 0 else (at + 1) / (len(left) + 1)
            across = math.sqrt(max(0.0, 1 - (2 * down - 1) ** 2))
            places[site] = (WIDTH / 2 + side * _REACH * across, top + 2 * reach * down)
    return places


def _widths(links: Sequence[LinkFinding]) -> dict[tuple[str, str], float]:
    """The width of each pair's line, by its place between the shortest and the longest round trip."""
    least: dict[tuple[str, str], float] = {}
    for link in links:
        least[link.a, link.b] = min(link.declared_ms, least.get((link.a, link.b), math.inf))
    order = sorted(set(least.values()))
    step = (_NEAR - _FAR) / max(1, len(order) - 1)
    return {pair: _NEAR - step * order.index(rtt) for pair, rtt in least.items()}


def _extremes(links: Sequence[LinkFinding]) -> str:
    if not links:
        return ""
    near, far = (f(links, key=lambda link: link.declared_ms) for f in (min, max))
    return (
        f"Round trips are from {numbers.ms(near.declared_ms)} ms ({near.a} to {near.b}) to "
        f"{numbers.ms(far.declared_ms)} ms ({far.a} to {far.b}). "
    )


def _label(
    axes: Axes, place: tuple[float, float], name: Sequence[str], residents: Sequence[str], *, below: bool
) -> None:
    """A site: its mark, and its name on the far side of the ring."""
    x, y = place
    axes.scatter([x], [y], s=44, color=colour("ink"), zorder=3)
    rows = len(name) + len(residents)
    side = "center" if abs(x - WIDTH / 2) < 1 else "left" if x > WIDTH / 2 else "right"
    at = x + {"center": 0.0, "left": _GAP, "right": -_GAP}[side]
    beside = y - _ROW * (rows - 1) / 2 + 4
    first = beside if side != "center" else y + 18 if below else y - _ROW * (rows - 1) - 8
    paper = max(
        *(text_width(text, size=_NAME, bold=True) for text in name),
        *(text_width(text, size=_RESIDENT) for text in residents),
        0.0,
    )
    corner = (at - paper * {"center": 0.5, "left": 0.0, "right": 1.0}[side], first - _ROW + 2)
    axes.add_patch(Rectangle(corner, paper, _ROW * rows + 2, facecolor=colour("paper"), linewidth=0, zorder=2))
    for row, text in enumerate(name):
        axes.text(at, first + _ROW * row, text, ha=side, fontsize=_NAME, fontweight="bold", zorder=4)
    for row, text in enumerate(residents, len(name)):
        axes.text(at, first + _ROW * row, text, ha=side, fontsize=_RESIDENT, color=colour("muted"), zorder=4)


def link_grid(sites: Sequence[str], links: Sequence[LinkFinding]) -> Plot:
    """Every pair's round-trip time: declared above the diagonal, measured below it."""
    declared: dict[tuple[str, str], list[float]] = {}
    measured: dict[tuple[str, str], list[float]] = {}
    for link in links:
        a, b = sorted((link.a, link.b), key=sites.index)
        declared.setdefault((a, b), []).append(link.declared_ms)
        if link.before_ms is not None:
            measured.setdefault((b, a), []).append(link.before_ms)
    texts = {pair: _figure(values) for pair, values in (declared | measured).items()}
    names = _numbered(sites, (WIDTH - _LEAST_NAMES) / len(sites))
    left = min(max(text_width(name, size=_NAME) for name in names) + 8, _NAMES_SHARE * WIDTH)
    cell = (WIDTH - left - 4) / len(sites)
    widest = max((text_width(text, size=_FIGURE) for text in texts.values()), default=1.0)
    size = min(_FIGURE, _FIGURE * (cell - 3) / widest)
    row = min(max(cell, 14.0), 26.0)
    top = _TOP + row
    about = "Declared round trips stand above the diagonal, measured ones below; the table of links has them in words."
    with canvas("map-links", "Round trips between sites, ms", about, height=top + row * len(sites), wide=True) as drawn:
        axes = drawn.blank()
        for at, (site, name) in enumerate(zip(sites, names, strict=True)):
            middle, across = top + row * (at + 0.5) + 3, left + cell * (at + 0.5)
            axes.text(left - 5, middle, _shortened(name, left - 6), ha="right", fontsize=_NAME)
            head = site if name == site else str(at + 1)
            axes.text(across, top - 4, head, ha="center", fontsize=size, color=colour("muted"))
            corner = (left + cell * at, top + row * at)
            axes.add_patch(Rectangle(corner, cell, row, facecolor=colour("raised"), linewidth=0, zorder=1))
            for column, other in enumerate(sites):
                text = texts.get((site, other), "" if column == at else numbers.NONE)
                shade = "ink" if column > at else "muted"
                axes.text(left + cell * (column + 0.5), middle, text, ha="center", fontsize=size, color=colour(shade))
    return drawn.plot()


def _numbered(sites: Sequence[str], cell: float) -> list[str]:
    """The names as rows have them: with numbers before them where columns have no room for names."""
    if all(text_width(site, size=_FIGURE) <= cell - 4 for site in sites):
        return list(sites)
    return [f"{at} {site}" for at, site in enumerate(sites, 1)]


def _figure(values: Sequence[float]) -> str:
    """A round trip as short as a cell wants it; of several, the span's upper end."""
    highest = max(values)
    text = f"{highest:,.1f}" if highest < 10 else f"{highest:,.0f}"
    return text.removesuffix(".0") if min(values) > 0.95 * highest or highest < 1 else f"≤{text.removesuffix('.0')}"


def _shortened(text: str, room: float) -> str:
    """As much of a name as there is room for."""
    if text_width(text, size=_NAME) <= room:
        return text
    kept = next((n for n in range(len(text) - 1, 0, -1) if text_width(f"{text[:n]}…", size=_NAME) <= room), 1)
    return f"{text[:kept]}…"
