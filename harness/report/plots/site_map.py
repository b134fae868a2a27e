"""A map of the sites: what stands where, and each link with its declared and measured round-trip time."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from harness.report import numbers
from harness.report.plots.canvas import Plot, wrap_svg

if TYPE_CHECKING:
    from harness.report.findings import Findings, LinkFinding

__all__ = ["site_map"]

_WIDTH, _HEIGHT = 400.0, 270.0
_BOX_WIDTH = 126.0
_LINE = 15.0
_NAMES = {"rabbitmq": "broker", "router": "router"}


def site_map(findings: Findings) -> Plot | None:
    """The map, or None without sites."""
    if not findings.sites:
        return None
    places = _places(findings.sites)
    ways: dict[tuple[str, str], list[LinkFinding]] = {}
    for link in findings.links:
        ways.setdefault((link.a, link.b), []).append(link)
    body = "".join(_link(links, places) for links in ways.values())
    body += "".join(_site(site, places[site], _residents(findings, site)) for site in findings.sites)
    said = "; ".join(
        f"{link.a} to {link.b}: {numbers.ms(link.declared_ms)} ms declared, {numbers.ms(link.before_ms)} ms measured"
        for link in findings.links
    )
    standing = "; ".join(f"{site}: {', '.join(_residents(findings, site)) or 'nothing'}" for site in findings.sites)
    title = "Sites and links"
    description = f"Round-trip times. {said}. {standing}."
    height = max(y for _, y in places.values()) + 46
    return Plot("map", title, description, wrap_svg("map", title, description, body, _WIDTH, height), wide=True)


def _places(sites: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """The first site at the top, the others around an ellipse."""
    if len(sites) == 1:
        return {sites[0]: (_WIDTH / 2, 60.0)}
    places = {}
    for at, site in enumerate(sites):
        angle = 2 * math.pi * at / len(sites) - math.pi / 2
        x = _WIDTH / 2 + (_WIDTH / 2 - _BOX_WIDTH / 2 - 2) * math.cos(angle)
        y = _HEIGHT / 2 + 10 + (_HEIGHT / 2 - 50) * math.sin(angle)
        places[site] = (x, y)
    return places


def _residents(findings: Findings, site: str) -> list[str]:
    lines: list[str] = []
    for system in findings.systems:
        if site in system.sites and not any(system.name in line for line in lines):
            kind = " and ".join(_NAMES.get(kind, kind) for kind in system.kinds)
            lines.append(f"{kind} ({system.name})")
    agents = (
        Counter(a.role for a in findings.cells[0].agents.values() if a.site == site) if findings.cells else Counter()
    )
    people = [numbers.plural(agents[role], role) for role in ("client", "server") if agents[role]]
    return lines + ([", ".join(people)] if people else [])


def _site(site: str, place: tuple[float, float], residents: list[str]) -> str:
    x, y = place
    height = 24 + _LINE * len(residents)
    top = y - height / 2
    texts = "".join(
        f'<text x="{x:.0f}" y="{top + 33 + _LINE * at:.0f}" font-size="11" fill="var(--muted)">{escape(text)}</text>'
        for at, text in enumerate(residents)
    )
    return (
        f'<g text-anchor="middle"><rect x="{x - _BOX_WIDTH / 2:.0f}" y="{top:.0f}" width="{_BOX_WIDTH:.0f}" '
        f'height="{height:.0f}" rx="7" fill="var(--raised)" stroke="var(--line)"/>'
        f'<text x="{x:.0f}" y="{top + 17:.0f}" font-size="13" font-weight="600" fill="var(--ink)">{escape(site)}</text>'
        f"{texts}</g>"
    )


def _link(links: list[LinkFinding], places: dict[str, tuple[float, float]]) -> str:
    (x1, y1), (x2, y2) = places[links[0].a], places[links[0].b]
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    declared = _span([link.declared_ms for link in links])
    found = [link.before_ms for link in links if link.before_ms is not None]
    measured = f"measured {_span(found)}" if found else "not measured"
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="var(--muted)" stroke-width="1.4"/>'
        f'<g text-anchor="middle"><rect x="{x - 44:.0f}" y="{y - 18:.0f}" width="88" height="36" rx="5" '
        f'fill="var(--paper)"/><text x="{x:.0f}" y="{y - 3:.0f}" font-size="12" font-weight="600" '
        f'fill="var(--ink)">RTT {declared} ms</text><text x="{x:.0f}" y="{y + 12:.0f}" font-size="11" '
        f'fill="var(--muted)">{measured}</text></g>'
    )


def _span(values: list[float]) -> str:
    low, high = numbers.ms(min(values)), numbers.ms(max(values))
    return low if low == high else f"{low} to {high}"
