"""Comparisons of made runs whose differences are known."""

from __future__ import annotations

import io
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from harness.analysis.comparison import compare
from harness.errors import BadInput
from harness.report.answer import answer
from harness.report.compare_page import compare_answer, compare_page, compare_runs
from harness.report.compare_text import compare_tables, contrast_sentences, phrase, too_few
from harness.report.compared import Comparison, Contrast, MetricEffect, compare_findings, compare_systems
from harness.report.examine import examine
from harness.report.findings import Findings
from harness.report.metrics import Metric
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
    said = compare_answer(comparison, [found])
    assert any("one repetition gives no verdict" in text for text in said.sentences)
    assert any(text.startswith("One repetition") and "5 are a fair start" in text for text in said.warnings)


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
    assert f"harness compare {path} --axis system --baseline rabbit --tolerance 5" in page


def test_the_command_that_compares_again_names_the_parts_that_may_differ(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, replace(SMALL, systems=("rabbit",), rate=rate, repetitions=2)) for rate in (20, 40)]
    parts = [f"workload {name}" for name in ("remote-call", "local-call", "events")]
    page = unescape(compare_runs(runs, into=tmp_path, allow=parts).html.read_text())
    assert "--allow 'workload remote-call' --allow 'workload local-call' --allow 'workload events'" in page


def found(unit: str, low: float, effect: float, high: float) -> MetricEffect:
    """A made difference whose interval is known."""
    metric = Metric("recovery", "call", "figure", unit, scale="difference", tolerance=0.5)
    made = replace(compare([1.0, 2.0], [1.0, 2.0], paired=False, scale="difference"), detectable=0.34)
    return MetricEffect(metric, replace(made, effect=effect, low=low, high=high))


@pytest.mark.parametrize(
    ("effect", "words", "detectable"),
    [
        (found("s", 9.74, 10.0, 10.3), "+10.0 s [9.74, 10.3]", "0.340 s"),
        (found("s", -2000.0, -1030.0, -60.0), "-1,030 s [-2,000, -60.0]", "0.340 s"),
        (found("share", -0.005, -0.004, -0.003), "-0.400 points [-0.500, -0.300]", "34.0 points"),
    ],
)
def test_differences_are_in_the_unit_of_their_metric(effect: MetricEffect, words: str, detectable: str) -> None:
    assert phrase(effect) == words
    contrast = Contrast("a", "b", "", False, (2, 2), (effect,))
    (table,) = compare_tables(Comparison("run", ("a", "b"), (contrast,), 0.05, ()))
    shown = dict(zip([column.key for column in table.shown], next(table.texts()), strict=True))
    assert shown["detectable_text"] == detectable


def test_a_narrow_terminal_has_verdict_and_effect_of_two_runs(tmp_path: Path) -> None:
    runs = [look(tmp_path, replace(SMALL, systems=("rabbit",), seed=seed)) for seed in (1, 2)]
    comparison = compare_findings(runs)
    out = io.StringIO()
    print_report(compare_answer(comparison, runs), compare_tables(comparison), Console(file=out, width=80))
    (contrast,) = comparison.contrasts
    table = out.getvalue()[out.getvalue().index(f"B = {contrast.b}") :]
    assert f"A = {contrast.a}" in " ".join(table.split())
    assert table.count("inconclusive") + table.count("equivalent") == len(contrast.effects)
    assert "…" not in table
    row = next(line for line in table.splitlines() if line.startswith("  p50, ms"))
    assert len(row.split("  ")) >= 5


def contrast(*effects: MetricEffect, repetitions: int = 5) -> Contrast:
    """A made contrast."""
    return Contrast("a", "b", "", False, (repetitions, repetitions), effects)


NARROW = found("s", 9.74, 10.0, 10.3)
OPEN = MetricEffect(NARROW.metric, replace(NARROW.effect, verdict="inconclusive", needed=12))
HOPELESS = MetricEffect(NARROW.metric, replace(NARROW.effect, verdict="inconclusive", needed=None))
LACKING = MetricEffect(NARROW.metric, compare([1.0], [1.0, 2.0], paired=False, scale="difference"))


def test_what_was_not_measured_is_not_said_to_vary_too_much() -> None:
    said = " ".join(contrast_sentences(contrast(OPEN, LACKING)))
    assert "inconclusive in 1, too few values in 1" in said
    assert "1 metric is open: to call them equivalent if they are, or different by" in said
    assert "takes about 12 repetitions." in said
    assert "Fewer than two runs of a side have figure of call" in said
    assert "1,000" not in said
    assert "more than 1,000 for 1" in " ".join(contrast_sentences(contrast(OPEN, HOPELESS)))
    assert "more than 1,000 repetitions" in " ".join(contrast_sentences(contrast(HOPELESS)))
    (table,) = compare_tables(Comparison("run", ("a", "b"), (contrast(LACKING),), 0.05, ()))
    shown = dict(zip([column.key for column in table.shown], next(table.texts()), strict=True))
    assert shown["verdict"] == "too few values"
    assert shown["why"]


def test_too_few_repetitions_are_warned_of_with_how_many_would_do() -> None:
    assert too_few([contrast(OPEN)]) == []
    assert "5 are a fair start" in too_few([contrast(NARROW, repetitions=2)])[0], "also where nothing is open"
    (said,) = too_few([contrast(OPEN, HOPELESS), contrast(OPEN, repetitions=3)])
    assert said.startswith("3 repetitions tell only roughly")
    assert "half of the metrics that are open take about 12" in said


def test_another_axis_does_not_overwrite_the_first_comparison(tmp_path: Path) -> None:
    path = make_run(tmp_path, replace(SMALL, repetitions=2))
    first, second = compare_runs([path], into=tmp_path), compare_runs([path], into=tmp_path, axis="system")
    assert (first.html.name, second.html.name) == ("compare.html", "compare-system.html")
    assert "harness compare" in first.markdown.read_text().split("## To do it again")[1]


def test_axes_swept_together_are_compared_together(small: Findings) -> None:
    def swept(points: list[dict[str, Any]]) -> Findings:
        rabbit = [cell for cell in small.cells if cell.system.name == "rabbit"]
        cells = [
            replace(cell, system=replace(cell.system, point=point), id=f"{cell.id}-{at}")
            for at, point in enumerate(points)
            for cell in rabbit
        ]
        return replace(small, cells=tuple(cells))

    (contrast,) = compare_findings([swept([{"rtt": 20, "rate": 1}, {"rtt": 50, "rate": 2}])], axis="rtt").contrasts
    assert (contrast.a, contrast.b, contrast.context) == ("rtt 20, rate 1", "rtt 50, rate 2", "rabbit")
    product = swept([{"rtt": rtt, "rate": rate} for rtt in (20, 50) for rate in (1, 2)])
    contexts = [contrast.context for contrast in compare_findings([product], axis="rtt").contrasts]
    assert contexts == ["rabbit, rate 1", "rabbit, rate 2"]
