"""Comparisons of made runs whose differences are known."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from harness.errors import BadInput
from harness.report.answer import answer
from harness.report.compare_page import compare_answer, compare_page, compare_runs
from harness.report.compare_text import compare_tables
from harness.report.compared import Comparison, compare_findings, compare_systems
from harness.report.examine import examine
from harness.report.findings import Findings
from harness.report.terminal import print_report
from harness.store.run import load_run
from tests.store.made import Made, make_run

SMALL = Made(seconds=4, warmup_s=1, rate=40, repetitions=5, run_spread=0.02)


def look(results: Path, made: Made) -> Findings:
    return examine(load_run(make_run(results, made)))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return look(tmp_path_factory.mktemp("small"), SMALL)


def verdicts(comparison: Comparison, kind: str) -> dict[str, str]:
    (contrast,) = comparison.contrasts
    return {e.metric.label: e.effect.verdict for e in contrast.effects if e.metric.kind == kind}


def test_systems_of_one_run_are_compared_pair_by_pair(small: Findings) -> None:
    comparison = compare_systems(small)
    assert comparison is not None
    (contrast,) = comparison.contrasts
    assert (contrast.a, contrast.b, contrast.paired, contrast.repetitions) == ("rabbit", "amqp1", True, (5, 5))
    latency = verdicts(comparison, "latency")
    assert latency["p50 of local-call, edge-b to edge-b"] == "better"
    assert latency["p50 of remote-call, edge-b to core"] in ("equivalent", "inconclusive")
    assert set(verdicts(comparison, "throughput").values()) == {"equivalent"}
    assert verdicts(comparison, "memory")["own memory of a client process"] == "better"


def test_a_tenth_more_between_two_runs(tmp_path: Path) -> None:
    a = look(tmp_path, replace(SMALL, systems=("rabbit",), seed=1))
    b = look(tmp_path, replace(SMALL, systems=("rabbit",), seed=2, faster={"rabbit": 1.1}))
    comparison = compare_findings([a, b])
    latency = {e.metric.label: e.effect for e in comparison.contrasts[0].effects if e.metric.kind == "latency"}
    effect = latency["p50 of remote-call, edge-b to core"]
    assert effect.verdict == "worse"
    assert effect.low < 1.1 < effect.high
    assert not comparison.contrasts[0].paired


def test_identical_runs_are_not_called_different(tmp_path: Path) -> None:
    for seed in range(4):
        a = look(tmp_path, replace(SMALL, systems=("rabbit",), seed=10 + 2 * seed))
        b = look(tmp_path, replace(SMALL, systems=("rabbit",), seed=11 + 2 * seed))
        found = {e.effect.verdict for contrast in compare_findings([a, b]).contrasts for e in contrast.effects}
        assert found <= {"equivalent", "inconclusive"}


def test_lost_messages_are_compared_by_share(tmp_path: Path) -> None:
    a = look(tmp_path, replace(SMALL, systems=("rabbit",)))
    b = look(tmp_path, replace(SMALL, systems=("rabbit",), lose=4))
    found = verdicts(compare_findings([a, b]), "delivery")
    assert found["lost share of events"] == "worse"
    assert found["lost share of remote-call"] == "equivalent"


def test_one_repetition_gives_figures_and_no_verdict(tmp_path: Path) -> None:
    found = look(tmp_path, replace(SMALL, repetitions=1))
    assert compare_systems(found) is None
    comparison = compare_findings([found])
    assert {e.effect.verdict for e in comparison.contrasts[0].effects} == {"inconclusive"}
    assert any("one repetition gives no verdict" in text for text in compare_answer(comparison, [found]).sentences)


def test_what_differs_in_more_is_refused_by_name_and_allowed_by_name(tmp_path: Path, small: Findings) -> None:
    other = look(tmp_path, replace(SMALL, rate=20, seconds=5))
    with pytest.raises(
        BadInput, match=r"differ in more than what is compared: load .*duration_s: 4\.0 against 5\.0"
    ) as e:
        compare_findings([small, other])
    assert "--allow 'workload remote-call'" in str(e.value)
    parts = ["load", *(f"workload {name}" for name in ("remote-call", "local-call", "events"))]
    notes = compare_findings([small, other], allow=parts).notes
    assert any("load" in note and "allowed" in note for note in notes)


def test_the_one_thing_two_runs_differ_in_is_what_is_compared(tmp_path: Path, small: Findings) -> None:
    other = look(tmp_path, replace(SMALL, seconds=5))
    assert any("differ in their load" in note for note in compare_findings([small, other]).notes)


def test_several_runs_are_pooled_only_if_alike(tmp_path: Path, small: Findings) -> None:
    other = look(tmp_path, replace(SMALL, rate=20, overhead_ms=6.0))
    with pytest.raises(BadInput, match=r"rabbit of made/.* and of made/.*differ in more .*workload remote-call"):
        compare_findings([small, other], axis="system")
    parts = [f"workload {name}" for name in ("remote-call", "local-call", "events")]
    notes = compare_findings([small, other], axis="system", allow=parts).notes
    assert any("The runs of rabbit differ in their workload events" in note for note in notes)


def test_several_runs_are_paired_within_each(tmp_path: Path, small: Findings) -> None:
    """What shifts a whole run is no noise of the effect."""
    other = look(tmp_path, replace(SMALL, seed=2, overhead_ms=8.0))
    (contrast,) = compare_findings([small, other], axis="system").contrasts
    assert contrast.paired
    assert contrast.repetitions == (10, 10)
    named = compare_findings([small, small], axis="system").contrasts[0]
    assert named.repetitions == (5, 5)


def test_all_latencies_of_a_comparison_are_corrected_together(small: Findings) -> None:
    (contrast,) = compare_findings([small]).contrasts
    effects = [e.effect for e in contrast.effects if e.metric.kind == "latency"]
    p = [effect.p for effect in effects]
    assert [effect.corrected for effect in effects] == pytest.approx(list(stats.false_discovery_control(p)))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"axis": "weather"}, "no axis 'weather'"),
        ({"baseline": "nats"}, "no side 'nats'"),
        ({"axis": "run"}, "only one run"),
    ],
)
def test_wishes_that_cannot_be_met(small: Findings, wish: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        compare_findings([small], **wish)


def test_baseline_turns_the_comparison_round(small: Findings) -> None:
    comparison = compare_findings([small], baseline="amqp1")
    assert verdicts(comparison, "latency")["p50 of local-call, edge-b to edge-b"] == "worse"


def test_the_same_verdicts_everywhere(tmp_path: Path, small: Findings) -> None:
    comparison = compare_findings([small])
    said = compare_answer(comparison, [small])
    assert said.warnings[0].startswith("Stand-in router")
    page = compare_page(comparison, [small])
    out = io.StringIO()
    print_report(said, compare_tables(comparison), Console(file=out, width=100))
    assert all(len(line) <= 100 for line in out.getvalue().splitlines())
    for sentence in said.sentences:
        assert sentence in page
        assert sentence in " ".join(out.getvalue().split())
    in_run = answer(small).sentences
    assert all(sentence in in_run for sentence in said.sentences)


def test_runs_by_path(tmp_path: Path) -> None:
    path = make_run(tmp_path, replace(SMALL, repetitions=2))
    published = compare_runs([path], into=tmp_path)
    assert "amqp1 against rabbit" in published.markdown.read_text()
    page = published.html.read_text()
    assert "forest" in page
    assert f"harness compare results/made/{path.name} --axis system --baseline rabbit --tolerance 5" in page
