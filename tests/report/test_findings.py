"""What the reports say of a run whose figures are known, and of runs that are not whole."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from harness.report import numbers
from harness.report.answer import answer
from harness.report.examine import examine
from harness.report.findings import Findings, PairFinding, point_texts
from harness.report.markdown import run_markdown
from harness.report.provenance import provenance
from harness.report.publish import publish_run
from harness.report.run_page import run_page
from harness.report.tables import Column, Table, run_tables
from harness.report.terminal import print_findings, print_table
from harness.store import facts
from harness.store.run import load_run
from harness.store.writer import RunWriter
from tests.store.made import Made, fill, make_run, plans


def look(results: Path, made: Made) -> Findings:
    return examine(load_run(make_run(results, made)))


def terminal(findings: Findings, width: int) -> str:
    out = io.StringIO()
    print_findings(findings, Console(file=out, width=width, force_terminal=False))
    return out.getvalue()


def test_the_floor_stands_beside_the_measured_median(findings: Findings) -> None:
    floors = {(f.system.name, f.pair.workload, f.pair.client_site): f for f in findings.pairs}
    assert floors["rabbit", "local-call", "edge-b"].floor_ms == pytest.approx(160)
    assert floors["amqp1", "local-call", "edge-b"].floor_ms == 0
    assert floors["rabbit", "remote-call", "edge-b"].floor_ms == pytest.approx(80)
    for found in findings.pairs:
        assert found.above_floor_ms == pytest.approx(2.1, abs=0.15)
        assert found.doubts == ()
    assert floors["rabbit", "events", "edge-a"].measure == "arrival"


def test_percentiles_are_those_of_the_tidy_frame(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path, Made(seconds=10, repetitions=2, fail=3)))
    frame = run.latency
    for found in examine(run).pairs:
        if found.measure != "response":
            continue
        own = frame[(frame["system"] == found.system.name) & (frame["workload"] == found.pair.workload)]
        own = own[(own["client_site"] == found.pair.client_site) & (own["outcome"] == "ok")]
        assert found.headline.n == len(own) == 2 * 50 * 10 - 2 * 3
        assert found.headline.p50_ms == pytest.approx(own["response_ms"].quantile(0.5), rel=1e-12)
        assert found.headline.p99_ms == pytest.approx(own["response_ms"].quantile(0.99), rel=1e-12)
        assert found.failed == 6


def test_the_same_answer_everywhere(findings: Findings) -> None:
    said = answer(findings)
    narrow = " ".join(terminal(findings, 80).split())
    page, text = run_page(findings), run_markdown(findings)
    for sentence in (*said.warnings, *said.sentences):
        assert sentence in narrow
        assert sentence.replace("*", "\\*") in text
        assert sentence in page


def test_sentences_are_of_sound_cells_where_there_are_any(findings: Findings) -> None:
    def unsound(client: str) -> Findings:
        """Of this site's clients nothing is sound."""
        pairs = [
            replace(f, system=replace(f.system, sound=False)) if f.pair.client_site.startswith(client) else f
            for f in findings.pairs
        ]
        return replace(findings, pairs=tuple(pairs))

    def farthest(found: Findings) -> str:
        return next(sentence for sentence in answer(found).sentences if "as long" in sentence)

    assert "from edge-b to a server at its own site" in farthest(findings)
    assert "from edge-a to a server at its own site" in farthest(unsound("edge-b"))
    assert farthest(unsound("")) == farthest(findings)


def test_no_median_is_told_of_operations_half_of_which_were_not_answered(tmp_path: Path) -> None:
    def told(found: Findings) -> str:
        return next(text for text in answer(found).sentences if text.startswith("A call from edge-b to core"))

    failing = look(tmp_path / "failing", Made(seconds=6, fail=120, hang=60))
    failed = "180 of 300 failed or never ended"
    assert told(failing).endswith(f"has no median on rabbit, where {failed}; nor on amqp1, where {failed}.")
    whole = look(tmp_path / "whole", Made(seconds=6))
    pairs = [
        *(f for f in whole.pairs if f.system.name == "rabbit"),
        *(f for f in failing.pairs if f.system.name == "amqp1"),
    ]
    mixed = told(replace(whole, pairs=tuple(pairs)))
    assert "ms on rabbit (median), and has no median on amqp1" in mixed
    assert "as long" not in mixed


def test_one_repetition_gives_no_verdict(findings: Findings) -> None:
    assert any("one repetition" in sentence and "no verdict" in sentence for sentence in answer(findings).sentences)


def test_a_terminal_never_breaks_a_row(findings: Findings) -> None:
    for width in (80, 120, 200):
        assert all(len(line) <= width for line in terminal(findings, width).splitlines())


def test_every_table_has_csv_with_a_field_per_column(findings: Findings) -> None:
    for table in run_tables(findings):
        lines = table.csv().splitlines()
        assert len(lines) == len(table.rows) + 1
        assert lines[0].count(",") == len(table.columns) - 1


def test_a_late_generator_is_said(tmp_path: Path) -> None:
    said = answer(look(tmp_path, Made(seconds=5, send_delay_ms=30)))
    assert any("the load generator was late" in warning for warning in said.warnings)


def test_a_median_below_the_floor_is_said(tmp_path: Path) -> None:
    said = answer(look(tmp_path, Made(seconds=5, faster={"rabbit": 0.5})))
    assert any("below the floor" in warning and "links were not in force" in warning for warning in said.warnings)


def test_messages_to_several_sites_are_timed_at_each_and_their_sending_is_counted_once(tmp_path: Path) -> None:
    found = look(tmp_path, Made(seconds=6, also_at="edge-b", fail=3))
    events = {f.pair.server_site: f for f in found.pairs if f.system.name == "amqp1" and _from_edge_a(f)}
    assert {site: (f.measure, f.failed) for site, f in events.items()} == {
        "core": ("arrival", 0),
        "edge-b": ("arrival", 0),
        "": ("acceptance", 3),
    }
    assert all(0 < events[site].above_floor_ms < 10 for site in ("core", "edge-b"))
    assert events["edge-b"].floor_ms > events["core"].floor_ms > 0
    assert events["core"].headline.n + events["edge-b"].headline.n == events[""].headline.n == 6 * 50 - 3
    assert [f.pair.server_site for f in found.located if f.system.name == "amqp1" and _from_edge_a(f)] == [
        "core",
        "edge-b",
    ]
    assert not any("several sites" in sentence for sentence in answer(found).sentences)


def _from_edge_a(finding: PairFinding) -> bool:
    return finding.pair.workload == "events" and finding.pair.client_site == "edge-a"


def test_clocks_apart_mean_no_one_way_times(tmp_path: Path) -> None:
    found = look(tmp_path, Made(seconds=5, shared_clock=False))
    events = [f for f in found.pairs if f.pair.workload == "events"]
    assert {f.measure for f in events} == {"acceptance"}
    assert all(np.isnan(f.floor_ms) for f in events)


def test_a_damaged_cell_is_named_first_and_never_counted(tmp_path: Path) -> None:
    path = make_run(tmp_path, Made(seconds=5))
    file = path / "cells" / "amqp1-r1" / "operations.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x10
    file.write_bytes(bytes(content))
    found = examine(load_run(path))
    assert {system.name for system in found.systems} == {"rabbit"}
    assert any("amqp1-r1 was left out" in warning for warning in answer(found).warnings)


def test_an_interrupted_cell_is_shown_as_such(tmp_path: Path) -> None:
    made = Made(seconds=5)
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(made), run_id="one") as run:
        cell = run.cell(plans(made)[0])
        fill(cell, plans(made)[0], made, tmp_path)
        run.finish("interrupted", ["stopped by the user"])
    found = publish_run(tmp_path / "made" / "one").findings
    assert [system.name for system in found.systems] == ["rabbit"]
    warnings = answer(found).warnings
    assert any("run is interrupted" in warning for warning in warnings)
    assert any("Cell amqp1-r1 is planned" in warning for warning in warnings)
    assert any("from cell rabbit-r1, which is interrupted" in warning for warning in warnings)


def test_a_run_without_a_single_cell_still_reports(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(Made()))
    run.finish("failed", ["no broker"])
    published = publish_run(run.path)
    assert "No operation was measured." in published.html.read_text()
    assert "no broker" in published.markdown.read_text()
    assert "No operation was measured." in terminal(published.findings, 80)


def test_names_are_escaped(tmp_path: Path) -> None:
    made = Made(seconds=3)
    hostile = '<script>alert("x")</script>|`'
    with RunWriter.create(tmp_path, hostile, resolved="{}", cells=plans(made)) as run:
        for plan in plans(made):
            with run.cell(plan) as cell:
                fill(cell, plan, made, tmp_path)
                cell.note(hostile)
                cell.finish("valid")
        run.warn(hostile)
        run.finish("complete")
    published = publish_run(run.path)
    for page in (published.html, published.markdown):
        assert "alert(" in page.read_text(), "it is shown"
        assert hostile not in page.read_text()
        assert "<script>alert" not in page.read_text()


def test_a_sweep_is_read_in_its_natural_order(tmp_path: Path) -> None:
    swept = [Made(seconds=3, point={"links.core-edge-a.rtt": value}) for value in ("80ms", "9ms", "0.1s")]
    cells = [replace(plan, id=f"{plan.id}-{at}") for at, made in enumerate(swept) for plan in plans(made)]
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=cells) as run:
        for plan in cells:
            with run.cell(plan) as cell:
                fill(cell, plan, swept[0], tmp_path)
                cell.finish("valid")
        run.finish("complete")
    found = examine(load_run(run.path))
    assert [system.label for system in found.systems] == [
        f"{system}, rtt {value}" for value in ("9ms", "80ms", "0.1s") for system in ("rabbit", "amqp1")
    ]
    assert any(sentence.startswith("From rtt 9ms to rtt 0.1s, the median") for sentence in answer(found).sentences)
    assert "Along the sweep" in run_page(found)


@pytest.mark.parametrize(
    ("point", "texts"),
    [
        ({}, []),
        ({"links.core-edge.rtt": "20ms"}, ["rtt 20ms"]),
        ({"links.a.rtt": 1, "links.b.rtt": 2, "seed": 3}, ["a.rtt 1", "b.rtt 2", "seed 3"]),
    ],
)
def test_points_have_short_names(point: dict[str, object], texts: list[str]) -> None:
    assert point_texts(point) == texts


def test_what_expired_or_is_unaccounted_for_is_not_called_arrived(findings: Findings) -> None:
    def changed(expired: int = 0, unaccounted: int = 0) -> Findings:
        cells = []
        for cell in findings.cells:
            rows = [replace(row, lost=0, duplicated=0, failed=0, failures={}) for row in cell.ledger.rows]
            rows[0] = replace(rows[0], expired=expired, unaccounted=unaccounted)
            cells.append(replace(cell, ledger=replace(cell.ledger, rows=tuple(rows))))
        return replace(findings, cells=tuple(cells))

    def delivery(found: Findings) -> str:
        return next(s for s in answer(found).sentences if s.startswith(("All ", "Delivery: ")))

    assert "exactly once" in delivery(changed())
    said = delivery(changed(expired=3, unaccounted=1))
    assert "3 messages expired and 1 message unaccounted for" in said
    assert "exactly once" not in said
    shown = {t.id: [c.name for c in t.shown] for t in run_tables(changed(expired=3))}["delivery"]
    assert "Expired" in shown
    assert "Unaccounted for" not in shown


def test_a_narrow_terminal_wraps_words_and_keeps_every_column() -> None:
    columns = (
        Column("Subject", "subject"),
        Column("Metric", "metric"),
        Column("Effect", "effect"),
        Column("Above floor, ms", "above_ms", numbers.ms),
    )
    rows = (("all clients " * 9, "slowest return to rate, s", "+10.0 s [9.74, 10.3]", 12345.0),)
    out = io.StringIO()
    print_table(Table("made", "one run against another " * 4, "", columns, rows, lead=1), Console(file=out, width=46))
    lines = out.getvalue().splitlines()
    assert all(len(line) <= 46 for line in lines)
    text = " ".join(out.getvalue().split())
    assert text.count("one run against another") == 4
    assert text.count("all clients") == 9
    assert all(
        word in text for word in ("slowest", "return", "rate, s", "+10.0", "[9.74,", "10.3]", "12,345", "floor,")
    )
    assert "…" not in text


def test_headings_carry_their_units(findings: Findings) -> None:
    text = " ".join(terminal(findings, 200).split())
    assert all(heading in text for heading in ("Floor, ms", "p50, ms", "RSS at end, MiB", "Declared, ms", "Max, ms"))


def test_a_bus_of_many_processes_has_its_total(findings: Findings) -> None:
    table = next(table for table in run_tables(findings) if table.id == "resources")
    keys = [column.key for column in table.columns]
    for row in table.rows:
        total, median, count = (row[keys.index(k)] for k in ("anonymous_mib_all", "anonymous_mib_end", "processes"))
        assert total == pytest.approx(median * count, rel=0.2)


def test_points_of_a_sweep_are_no_systems(findings: Findings) -> None:
    (rabbit, *_), page = findings.systems, run_page(findings)
    assert "2 systems, 1 repetition." in page
    points = tuple(replace(rabbit, point={"clients": clients}) for clients in (1, 4, 16))
    assert "1 system at 3 points, 1 repetition." in run_page(replace(findings, systems=points, pairs=(), cells=()))


def test_the_command_that_runs_it_again_has_its_place_and_its_lax_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(seconds=3)
    with RunWriter.create(tmp_path / "elsewhere", "made", resolved="{}", cells=plans(made), run_id="one") as run:
        run.set(facts.LAX_LINKS, True)
        run.finish("complete")
    monkeypatch.chdir(tmp_path)
    again = provenance(load_run(Path("elsewhere/made/one")))["Run"]["to run it again"]
    assert again == "harness run elsewhere/made/one/scenario.resolved.yaml --lax-links"


def test_markdown_has_the_failures_and_the_command(findings: Findings) -> None:
    text = run_markdown(findings)
    assert "## Failures by kind" in text
    assert f"```sh\n{findings.provenance['Run']['to run it again']}\n```" in text
