"""Plots and tables as files of their own, and the plots that need a special run to be seen."""

from __future__ import annotations

import csv
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from harness.analysis.student import interval_of_logs
from harness.report.compare_page import compare_page, sweeps
from harness.report.compare_text import compare_tables
from harness.report.compared import compare_findings
from harness.report.examine import examine
from harness.report.export import export_comparison, export_run
from harness.report.findings import Findings, LinkFinding
from harness.report.page import table_html
from harness.report.plots.doses import dose_plots
from harness.report.plots.forest import forest_plots
from harness.report.plots.site_map import site_maps
from harness.report.plots.sweep import sweep_plots
from harness.report.run_page import run_page
from harness.report.tables import link_table, resource_table
from harness.store.run import load_run
from harness.store.writer import RunWriter
from tests.store.made import Made, fill, make_run, plans

ROOT = Path(__file__).parents[2]


def swept(
    results: Path,
    points: list[dict[str, Any]],
    *,
    repetitions: int = 1,
    systems: tuple[str, ...] = ("rabbit", "amqp1"),
    seconds: int = 3,
    rate: int = 50,
) -> Findings:
    """A run over these points, each of which takes longer than the one before."""
    cells = [
        (replace(plan, id=f"{plan.id}-{at}", order=plan.order + 100 * at), made)
        for at, point in enumerate(points)
        for made in [
            Made(
                seconds=seconds,
                rate=rate,
                point=point,
                repetitions=repetitions,
                systems=systems,
                run_spread=0.03,
                overhead_ms=2.0 + at,
            )
        ]
        for plan in plans(made)
    ]
    with RunWriter.create(results, "made", resolved="{}", cells=[plan for plan, _ in cells]) as run:
        for plan, made in cells:
            with run.cell(plan) as cell:
                fill(cell, plan, made, results)
                cell.finish("valid")
        run.finish("complete")
    return examine(load_run(run.path))


def test_every_plot_is_an_svg_and_a_png_and_every_table_a_csv(findings: Findings, tmp_path: Path) -> None:
    written = export_run(findings, tmp_path / "files")
    names = {path.name for path in written}
    assert {
        "map.svg",
        "map.png",
        "floor-0.svg",
        "ecdf-0.png",
        "nines-0.png",
        "time-0.svg",
        "memory-client.png",
    } <= names
    assert {"latency.csv", "delivery.csv", "links.csv", "resources.csv", "percentiles.csv"} <= names
    for path in written:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
            assert path.with_suffix(".png").exists()
        elif path.suffix == ".png":
            content = path.read_bytes()
            assert content[:8] == b"\x89PNG\r\n\x1a\n"
            assert struct.unpack(">I", content[16:20])[0] == 960
        else:
            rows = list(csv.reader(path.read_text().splitlines()))
            assert {len(row) for row in rows} == {len(rows[0])}


def test_a_png_has_the_colours_of_light_paper(findings: Findings, tmp_path: Path) -> None:
    from matplotlib.image import imread

    export_run(findings, tmp_path)
    for path in tmp_path.glob("*.png"):
        pixels = (imread(path)[:, :, :3] * 255).round().astype(int).reshape(-1, 3)
        assert tuple(pixels[0]) == (255, 255, 255)
        placeholder = (pixels[:, 0] == 0xFE) & (pixels[:, 2] == 0x01)
        assert not placeholder.any(), path.name


def test_a_comparison_can_be_taken_along(tmp_path: Path) -> None:
    run = examine(load_run(make_run(tmp_path, Made(seconds=3, repetitions=2))))
    comparison = compare_findings([run])
    written = export_comparison(comparison, [run], compare_tables(comparison), tmp_path / "files")
    names = {path.name for path in written}
    assert {"forest-0l.svg", "forest-0l.png", "contrast-0.csv"} <= names


def test_a_comparison_shows_every_sweep_and_says_whose(tmp_path: Path) -> None:
    points = [{"clients": 1}, {"clients": 5}]
    runs = [swept(tmp_path / name, points, systems=("rabbit",), repetitions=2) for name in "ab"]
    comparison = compare_findings(runs)
    page = compare_page(comparison, runs)
    plots = sweeps(runs)
    assert len({plot.id for plot in plots}) == len(plots) == 2 * len(runs[0].pair_order)
    for plot, findings in zip(plots, [run for run in runs for _ in run.pair_order], strict=True):
        assert findings.run in plot.title
        assert findings.run in plot.description
        assert plot.svg in page
    names = {path.name for path in export_comparison(comparison, runs, (), tmp_path / "files")}
    assert {f"{plot.id}.png" for plot in plots} <= names


def test_forest_plots_name_their_point_and_what_they_leave_out(tmp_path: Path) -> None:
    found = swept(tmp_path, [{"clients": 1}, {"clients": 5}], repetitions=2)
    comparison = compare_findings([found], axis="system")
    plots = forest_plots(comparison)
    assert len({plot.title for plot in plots}) == len(plots) == 4
    assert "clients 5" in plots[-1].title
    assert "clients 5" in plots[-1].description
    contrast = comparison.contrasts[0]
    latency = [e for e in contrast.effects if e.metric.kind == "latency"]
    many = replace(comparison, contrasts=(replace(contrast, effects=tuple(latency * 3)),))
    (plot,) = forest_plots(many)
    told = f"24 of {3 * len(latency)} shown"
    assert told in plot.description
    assert told in plot.svg


def test_line_and_band_of_a_sweep_are_one_statistic(tmp_path: Path) -> None:
    """The geometric mean of the runs lies within their interval, which the pooled percentile need not do."""
    found = swept(tmp_path, [{"clients": 1}, {"clients": 5}], systems=("rabbit",), repetitions=3)
    skewed = tuple(replace(f, run_p50_ms=(100.0, 100.0, 800.0)) for f in found.pairs)
    plot = sweep_plots(replace(found, pairs=skewed))[0]
    low, high = interval_of_logs([100.0, 100.0, 800.0])
    assert f"p50 200 [{low:.1f}, {high:,.0f}]" in plot.description
    assert ">clients per placement" in plot.svg


def test_the_map_counts_agents_over_all_points(findings: Findings) -> None:
    first = findings.cells[0]
    client = next(index for index, agent in first.agents.items() if agent.role == "client")
    site = first.agents[client].site
    fewer = replace(first, agents={index: agent for index, agent in first.agents.items() if index != client})
    (chart,) = site_maps(replace(findings, cells=(fewer, *findings.cells[1:])))
    assert f"{site}: router (amqp1), 2 to 3 clients" in chart.description


@pytest.mark.parametrize("number", [4, 7, 16])
def test_many_sites_are_a_ring_and_a_grid_with_each_figure_once(findings: Findings, number: int) -> None:
    sites = tuple(f"site-{at}" for at in range(number))
    pairs = list(combinations(sites, 2))
    links = tuple(LinkFinding(a, b, 100.0 + at, 300.0 + at, None, None) for at, (a, b) in enumerate(pairs))
    far = replace(links[0], declared_ms=1000.0)  # a delay that is swept
    ring, grid = site_maps(replace(findings, sites=sites, links=(*links, far)))
    shown = Counter(re.findall(r">([^<>]+)</text>", grid.svg))
    assert shown["≤1,000"] == 1
    assert all(shown[f"{100 + at}"] == 1 for at in range(1, len(pairs)))
    assert all(shown[f"{300 + at}"] == 1 for at in range(len(pairs)))
    assert all(f">{site}</text>" in ring.svg for site in sites)
    assert "from 100 ms (site-0 to site-1) to 1,000 ms" in ring.description
    found = re.findall(r'<text [^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>site', ring.svg)
    labels = [(float(x), float(y)) for x, y in found]
    assert len(labels) == number
    assert all(abs(y1 - y2) > 11 or abs(x1 - x2) > 60 for (x1, y1), (x2, y2) in combinations(labels, 2))


@pytest.mark.parametrize(
    ("points", "axes", "lines"),
    [
        ([{"links.l.rtt": value} for value in ("0ms", "20ms", "0.1s")], 1, ["rabbit", "amqp1"]),
        ([{"clients": value} for value in (1, 5)], 1, ["rabbit", "amqp1"]),
        (
            [{"clients": n, "rate": r} for n in (1, 5) for r in ("1/s", "9/s")],
            2,
            ["rabbit, rate 1/s", "rabbit, rate 9/s", "amqp1, rate 1/s", "amqp1, rate 9/s"],
        ),
        ([{"clients": 1, "rate": "1/s"}, {"clients": 5, "rate": "9/s"}], 1, ["rabbit", "amqp1"]),
        ([{"stack": "one"}, {"stack": "two"}], 1, ["rabbit", "amqp1"]),
    ],
    ids=["rtt", "clients", "two axes", "zip", "names"],
)
def test_percentiles_along_every_axis(
    tmp_path: Path, points: list[dict[str, Any]], axes: int, lines: list[str]
) -> None:
    found = swept(tmp_path, points)
    plots = sweep_plots(found)
    assert len(plots) == axes * len(found.pair_order)
    for line in lines:
        assert f">{line}<" in plots[0].svg
    if len(points) == 2:
        assert "Along the sweep" in run_page(found)


def test_a_sweep_with_repetitions_shows_intervals(tmp_path: Path) -> None:
    plots = sweep_plots(swept(tmp_path, [{"clients": 1}, {"clients": 5}], repetitions=3))
    assert "band:\u00a095\u00a0%" in plots[0].svg
    logs = np.log([10.0, 11.0, 12.0])
    reach = 4.302653 * logs.std(ddof=1) / 3**0.5  # Student's t with two degrees of freedom, 97.5 %
    assert np.log(interval_of_logs([10.0, 11.0, 12.0])) == pytest.approx([logs.mean() - reach, logs.mean() + reach])


def test_a_campaign_makes_a_page_small_enough_to_forward(tmp_path: Path) -> None:
    """Two systems at four points, five times over: one repetition is made, the others are like it."""
    found = swept(tmp_path, [{"clients": 2**at} for at in range(4)], seconds=60, rate=5)
    cells = tuple(replace(cell, id=f"{cell.id}-{r}", repetition=r) for cell in found.cells for r in range(1, 6))
    assert len(cells) == 40
    assert len(run_page(replace(found, cells=cells, repetitions=5)).encode()) <= 2 << 20


def test_links_are_held_against_what_was_declared_then(findings: Findings) -> None:
    assert "Declared after" not in [column.name for column in link_table(findings).shown]
    changed = replace(findings, links=(LinkFinding("a", "b", 20.0, 20.3, 120.0, 120.4), *findings.links))
    table = link_table(changed)
    assert [column.name for column in table.shown][-2:] == ["Declared after, ms", "After, ms"]
    assert "120" in table_html(table)


def _resource_rows(found: Findings) -> dict[str, Mapping[str, Any]]:
    """The rows of the table of resources by kind of process."""
    table = resource_table(found)
    keys = [column.key for column in table.columns]
    return {row[0]: dict(zip(keys, row, strict=True)) for row in table.rows}


def test_memory_gained_per_operation(tmp_path: Path) -> None:
    made = Made(seconds=20, warmup_s=0, rate=50, systems=("rabbit",), leak_bytes_s={"rabbit": 50_000.0})
    found = examine(load_run(make_run(tmp_path, made)))
    rows = _resource_rows(found)
    # Six clients grow by 50,000 bytes and perform 50 operations a second each: 1,000 bytes for each operation.
    assert rows["clients"]["growth_bytes_per_operation"] == pytest.approx(1000, rel=0.02)
    assert rows["bus"]["growth_bytes_per_operation"] == 0
    # Of a fleet some are read for CPU alone: those that are read for memory stand for them.
    (cell,) = found.cells
    unread = cell.resources["process"].isin(cell.resources.query("role == 'client'")["process"][2:])
    fleet = cell.resources.mask(unread, cell.resources.filter(regex="process|role|site|cpu_cores"))
    few = _resource_rows(replace(found, cells=(replace(cell, resources=fleet),)))
    for key in ("anonymous_mib_all", "growth_bytes_per_operation", "cpu_cores", "processes"):
        assert few["clients"][key] == pytest.approx(rows["clients"][key], rel=0.02), key
    # Forked processes share most of what each calls its own.
    forked = replace(cell, resources=cell.resources.assign(uss_mib_end=1.5))
    own = _resource_rows(replace(found, cells=(forked,)))["clients"]
    assert own["anonymous_mib_end"] == rows["clients"]["anonymous_mib_end"]
    assert own["anonymous_mib_all"] == pytest.approx(6 * 1.5)


def test_memory_per_operation_of_doses() -> None:
    found = examine(load_run(ROOT / "results" / "examples" / "memory-smoke"))
    (plot,) = dose_plots(found.memory)
    assert "call, client" in plot.description
    assert plot.svg in run_page(found)
