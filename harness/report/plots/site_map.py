"""A map of the sites: what stands where, and each link with its declared and measured round-trip time."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from matplotlib.patches import FancyBboxPatch

from harness.report import numbers
from harness.report.plots.canvas import WIDTH, Plot, canvas, colour, text_width, wrapped
from harness.report.plots.site_ring import link_grid, site_ring

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.report.findings import Findings, LinkFinding

__all__ = ["site_maps"]

#: Of the area the sites are spread over, and of a site's box, in picture units.
_HEIGHT, _TOP = 250.0, 26.0
_BOX_WIDTH = 116.0
_LINE = 14.0
#: More lines than this in a box are too many: systems are counted, and named in words beside the map.
_MOST_LINES = 6
#: With more sites than this, numbers on links would write over each other.
_MOST_SITES = 3
_NAMES = {"rabbitmq": "broker", "router": "router"}


def site_maps(findings: Findings) -> list[Plot]:
    """The map, with a number on every link; of many sites a ring, and a grid with the numbers. [] without sites."""
    if not findings.sites:
        return []
    if len(findings.sites) > _MOST_SITES:
        standing = {site: _in_short(findings, site) for site in findings.sites}
        ring = site_ring(standing, findings.links)
        return [ring, link_grid(findings.sites, findings.links)] if findings.links else [ring]
    return [_map(findings)]


def _map(findings: Findings) -> Plot:
    said = "; ".join(
        f"{link.a} to {link.b}: {numbers.ms(link.declared_ms)} ms declared, {numbers.ms(link.before_ms)} ms measured"
        for link in findings.links
    )
    residents = {site: _residents(findings, site) for site in findings.sites}
    standing = "; ".join(f"{site}: {', '.join(lines) or 'nothing'}" for site, lines in residents.items())
    ways: dict[tuple[str, str], list[LinkFinding]] = {}
    for link in findings.links:
        ways.setdefault((link.a, link.b), []).append(link)
    written = {site: _written(site, lines) for site, lines in residents.items()}
    places = _places(findings.sites, max(_height(*lines) for lines in written.values()))
    short = max(0.0, *(_TOP - places[site][1] + _height(*lines) / 2 for site, lines in written.items()))
    places = {site: (x, y + short) for site, (x, y) in places.items()}
    height = max(places[site][1] + _height(*lines) / 2 for site, lines in written.items()) + 8
    description = f"Round-trip times. {said}. {standing}."
    with canvas("map", "Sites and links", description, height=height, wide=True) as drawn:
        axes = drawn.blank()
        for links in ways.values():
            _link(axes, links, places)
        for site, lines in written.items():
            _site(axes, places[site], *lines)
    return drawn.plot()


def _places(sites: tuple[str, ...], tallest: float) -> dict[str, tuple[float, float]]:
    """The first site at the top, the others around an ellipse that leaves room between boxes as high as the tallest."""
    if len(sites) == 1:
        return {sites[0]: (WIDTH / 2, 60.0)}
    places = {}
    apart = tallest + 44
    radius = max(_HEIGHT / 2 - 34, apart / 1.5 if len(sites) <= 3 else apart)
    for at, site in enumerate(sites):
        angle = 2 * math.pi * at / len(sites) - math.pi / 2
        x = WIDTH / 2 + (WIDTH / 2 - _BOX_WIDTH / 2 - 2) * math.cos(angle)
        y = _TOP + 34 + radius * (1 + math.sin(angle))
        places[site] = (x, y)
    return places


def _residents(findings: Findings, site: str) -> list[str]:
    lines: list[str] = []
    for system in findings.systems:
        if site in system.sites and not any(f"({system.name})" in line for line in lines):
            kind = " and ".join(_NAMES.get(kind, kind) for kind in system.kinds)
            lines += [f"{kind} ({system.name})"]
    agents = [Counter(a.role for a in cell.agents.values() if a.site == site) for cell in findings.cells]
    people = [text for role in ("client", "server") if (text := _people(role, [count[role] for count in agents]))]
    text = ", ".join(people)
    return lines + ([text] if text and text_width(text, size=10) <= _BOX_WIDTH - 8 else people)


def _in_short(findings: Findings, site: str) -> list[str]:
    """Who stands at a site, without the names of systems."""
    lines = [line.partition(" (")[0] for line in _residents(findings, site)]
    return [", ".join(dict.fromkeys(lines))] if lines else []


def _people(role: str, counts: list[int]) -> str:
    """ "1 client", or over the cells "1 to 16 clients"."""
    least, most = min(counts, default=0), max(counts, default=0)
    return f"{least:,} to {numbers.plural(most, role)}" if least < most else numbers.plural(most, role) if most else ""


def _written(site: str, residents: list[str]) -> tuple[list[str], list[str]]:
    """A site's name and who stands there, as lines that fit into its box."""
    room = _BOX_WIDTH - 8
    name = wrapped(site, room, size=12, bold=True)
    lines = [line for text in residents for line in wrapped(text, room, size=10)]
    if len(lines) > _MOST_LINES:
        kinds = Counter(text.partition(" (")[0] for text in residents if text.endswith(")"))
        counted = [f"{kind} ({numbers.plural(count, 'system')})" for kind, count in kinds.items()]
        shorter = [*counted, *(text for text in residents if not text.endswith(")"))]
        lines = [line for text in shorter for line in wrapped(text, room, size=10)]
    return name, lines


def _height(name: list[str], residents: list[str]) -> float:
    return 10 + _LINE * (len(name) + len(residents))


def _site(axes: Axes, place: tuple[float, float], name: list[str], residents: list[str]) -> None:
    x, y = place
    height = _height(name, residents)
    top = y - height / 2
    box = FancyBboxPatch(
        (x - _BOX_WIDTH / 2, top),
        _BOX_WIDTH,
        height,
        boxstyle="round,pad=0,rounding_size=6",
        facecolor=colour("raised"),
        edgecolor=colour("line"),
        linewidth=0.8,
    )
    axes.add_patch(box)
    for at, text in enumerate(name):
        axes.text(x, top + 16 + _LINE * at, text, ha="center", fontsize=12, fontweight="bold")
    for at, text in enumerate(residents, len(name)):
        axes.text(x, top + 17 + _LINE * at, text, ha="center", fontsize=10, color=colour("muted"))


def _link(axes: Axes, links: list[LinkFinding], places: dict[str, tuple[float, float]]) -> None:
    (x1, y1), (x2, y2) = places[links[0].a], places[links[0].b]
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    declared = _span([link.declared_ms for link in links])
    found = [link.before_ms for link in links if link.before_ms is not None]
    measured = f"measured {_span(found)}" if found else "not measured"
    axes.plot([x1, x2], [y1, y2], color=colour("muted"), linewidth=1.2, zorder=1)
    half = 44 if len(measured) < 16 else 3 * len(measured)
    paper = FancyBboxPatch(
        (x - half, y - 17), 2 * half, 34, boxstyle="square,pad=0", facecolor=colour("paper"), linewidth=0, zorder=2
    )
    axes.add_patch(paper)
    axes.text(x, y - 2, f"RTT {declared} ms", ha="center", fontsize=11, fontweight="bold", zorder=3)
    axes.text(x, y + 12, measured, ha="center", fontsize=10, color=colour("muted"), zorder=3)


def _span(values: list[float]) -> str:
    low, high = numbers.ms(min(values)), numbers.ms(max(values))
    return low if low == high else f"{low} to {high}"
