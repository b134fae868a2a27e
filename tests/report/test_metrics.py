"""The figures cells are compared by, and what is said against them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.report.compared import compare_findings
from harness.report.examine import examine
from harness.report.findings import CellFinding, Findings
from harness.report.metrics import cell_metrics
from harness.store.run import load_run
from tests.store.made import Made, make_run

SMALL = Made(seconds=4, warmup_s=0, rate=40, systems=("rabbit",), repetitions=3, run_spread=0.02)


def look(results: Path, made: Made) -> Findings:
    return examine(load_run(make_run(results, made)))


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> CellFinding:
    return look(tmp_path_factory.mktemp("cell"), replace(SMALL, repetitions=1)).cells[0]


def test_what_was_asked_for_is_no_merit(tmp_path: Path) -> None:
    """Three times the load is neither a better rate nor more CPU."""
    a, b = (look(tmp_path, replace(SMALL, rate=rate)) for rate in (40, 120))
    parts = [f"workload {name}" for name in ("remote-call", "local-call", "events")]
    effects = {e.metric.label: e.effect for e in compare_findings([a, b], allow=parts).contrasts[0].effects}
    assert "rate of remote-call" not in effects
    assert effects["rate over offered of remote-call"].verdict == "equivalent"
    assert effects["CPU per operation of all clients"].effect == pytest.approx(1 / 3)


def test_cpu_that_ticks_do_not_resolve_is_not_left_out(cell: CellFinding) -> None:
    idle = replace(cell, resources=cell.resources.assign(cpu_cores=0.0))
    figure = next(f for metric, f in cell_metrics(idle).items() if metric.label == "CPU of all clients")
    assert figure.low == 0.0
    assert "ticks of 10 ms" in figure.doubt
    told = next(f for metric, f in cell_metrics(cell).items() if metric.label == "CPU of all clients")
    assert not told.doubt


def test_a_late_generator_speaks_against_its_own_percentile_only(cell: CellFinding) -> None:
    pair = next(pair for pair in cell.latencies if pair.workload == "local-call" and pair.client_site == "edge-a")
    delay = replace(cell.delays[pair], p50_ms=0.01, p99_ms=10.0)
    figures = cell_metrics(replace(cell, delays={**cell.delays, pair: delay}))
    by_name = {metric.name: figure for metric, figure in figures.items() if metric.subject == pair.label}
    assert not by_name["p50"].doubt
    assert by_name["p99"].low == pytest.approx(by_name["p99"].value - 10.0)
    assert "late" in by_name["p99"].doubt


def test_where_too_many_failed_a_percentile_is_a_least_value(cell: CellFinding) -> None:
    pair = next(pair for pair in cell.latencies if pair.workload == "local-call" and pair.client_site == "edge-a")
    summary = replace(
        cell.latencies[pair], p50_at_most_ms=cell.latencies[pair].p50_ms * 1.01, p99_at_most_ms=float("inf")
    )
    attempted = {**cell.attempted, pair: cell.succeeded[pair] + 3}
    figures = cell_metrics(replace(cell, latencies={**cell.latencies, pair: summary}, attempted=attempted))
    by_name = {metric.name: figure for metric, figure in figures.items() if metric.subject == pair.label}
    assert not by_name["p50"].doubt
    assert (by_name["p99"].low, by_name["p99"].high) == (by_name["p99"].value, float("inf"))
    assert "3 of" in by_name["p99"].doubt


def test_what_expired_counts_where_messages_have_a_time_to_live(cell: CellFinding) -> None:
    assert "expired share" not in {metric.name for metric in cell_metrics(cell)}
    events = {index: agent for index, agent in cell.agents.items() if agent.workload == "events"}
    living = {index: agent.model_copy(update={"task": {**agent.task, "ttl_s": 1.0}}) for index, agent in events.items()}
    rows = tuple(replace(row, expired=row.started // 4) if row.agent in events else row for row in cell.ledger.rows)
    figures = cell_metrics(replace(cell, agents={**cell.agents, **living}, ledger=replace(cell.ledger, rows=rows)))
    shares = {metric.subject: figure.value for metric, figure in figures.items() if metric.name == "expired share"}
    assert shares == {"events": pytest.approx(0.25)}


@pytest.mark.parametrize(("late_ms", "verdict"), [(25.0, "worse"), (150.0, "inconclusive")])
def test_a_late_p99_is_called_only_if_lateness_cannot_have_made_it(
    tmp_path: Path, late_ms: float, verdict: str
) -> None:
    """A takes 42 ms, B 170 ms; in both cases the lateness is doubtful, more than a tenth of the median."""
    a, b = (look(tmp_path, replace(SMALL, seed=seed, faster={"rabbit": f})) for seed, f in ((1, 1.0), (2, 4.0)))
    late = [replace(c, delays={pair: replace(d, p99_ms=late_ms) for pair, d in c.delays.items()}) for c in b.cells]
    (contrast,) = compare_findings([a, replace(b, cells=tuple(late))]).contrasts
    found = {e.metric.label: e.effect.verdict for e in contrast.effects}
    assert found["p99 of local-call, edge-a to edge-a"] == verdict
    assert found["p50 of local-call, edge-a to edge-a"] == "worse"
