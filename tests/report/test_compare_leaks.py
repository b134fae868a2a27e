"""What comparisons of doses say, from made verdicts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner

from harness.analysis.leak import Growth, State, Verdict
from harness.cli.compare import compare
from harness.errors import BadInput
from harness.memory.result import DoseResult, MemoryResult, RoleResult
from harness.report.compare_leaks import compare_leaks, leak_sentences, leak_tables
from harness.report.compare_page import compare_runs
from harness.report.examine import examine
from harness.report.export import export_comparison
from harness.report.findings import Findings
from harness.report.memory import MemoryFinding, verdict_table
from harness.store.run import load_run
from tests.store.made import Made, make_run

EXAMPLES = Path(__file__).parents[2] / "results" / "examples"


def finding(system: str, **states: State) -> MemoryFinding:
    """A system's verdicts by dose."""
    doses = []
    for name, state in states.items():
        blocks = Growth("blocks", state, 2.0, 1.9, 2.1, 0.1, 0.2, 4000.0, (), 2.0, "")
        role = RoleResult("client", Verdict(state, {"blocks": blocks}, "made"), {})
        doses.append(DoseResult(name, name, "a call", 300, 3600, 0, 3, (role,), 3600, {}, "", 1.0))
    return MemoryFinding(system, f"{system}-memory", MemoryResult(tuple(doses)), "", system, {}, {"load": 1})


class Run:
    """As much of a run's findings as is looked at."""

    def __init__(self, *memory: MemoryFinding, run: str = "one") -> None:
        self.memory, self.scenario, self.run = memory, "made", run


def runs(*made: Run) -> list[Findings]:
    return cast("list[Findings]", list(made))


def test_who_leaks_who_does_not_and_what_is_open() -> None:
    a = finding("rabbit", call="clean", cast="clean", churn="leak", link="inconclusive", server="leak")
    b = finding("amqp1", call="clean", cast="clean", churn="clean", link="clean", notify="clean")
    found = compare_leaks(runs(Run(a, b)), "system")
    said = leak_sentences(found)
    assert "Under churn (client) rabbit leaks 2 [1.9, 2.1] blocks per operation and amqp1 does not." in said
    assert "Under link (client) it is open whether rabbit leaks." in said
    assert "Neither rabbit nor amqp1 leaks under call (client), cast (client)." in said
    assert found.notes == ("Given to one side only, not compared: notify (client), server (client).",)
    (table,) = leak_tables(found)
    assert [row[1:3] for row in table.rows][:2] == [("rabbit", "clean"), ("amqp1", "clean")]


def test_runs_of_doses_that_differ_in_more_are_refused() -> None:
    a = finding("rabbit", call="clean")
    b = replace(a, parts={"load": 2, "sites": 1})
    with pytest.raises(BadInput, match="differ in more than what is compared: load"):
        compare_leaks(runs(Run(a), Run(b, run="two")), "run")
    allowed = compare_leaks(runs(Run(a), Run(b, run="two")), "run", allow=["load", "sites"])
    assert leak_sentences(allowed) == ["Neither made/one nor made/two (rabbit) leaks under call (client)."]


def test_two_runs_of_doses_are_compared_by_their_verdicts(tmp_path: Path) -> None:
    (first,) = (EXAMPLES / "memory-smoke").iterdir()
    second = shutil.copytree(first, tmp_path / "memory-smoke" / "again")
    manifest = second / "manifest.json"
    manifest.write_text(manifest.read_text().replace(first.name, second.name))
    published = compare_runs([first, second], into=tmp_path)
    written = export_comparison(published.comparison, published.runs, published.tables, tmp_path / "files")
    assert {path.name for path in written} >= {"leaks-0.csv"}
    assert any(
        text.startswith("Neither ") and "leaks under call (server), call (client)." in text
        for text in published.said.sentences
    )
    assert "Does it leak" in published.html.read_text()
    assert "leaks under call" in published.markdown.read_text()


def test_what_has_nothing_in_common_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    run = make_run(tmp_path, Made(seconds=3, warmup_s=1, repetitions=1, systems=("rabbit",)))
    other = make_run(tmp_path, Made(seconds=3, warmup_s=1, repetitions=1, systems=("amqp1",)))
    done = CliRunner().invoke(compare, [str(run), str(other)])
    assert isinstance(done.exception, BadInput)
    assert "nothing of them can be compared" in str(done.exception)
    assert "only" in str(done.exception)
    assert not list(other.glob("compare.*"))
    (doses,) = (EXAMPLES / "memory-smoke").iterdir()
    with pytest.raises(BadInput, match="there is only one system to compare"):
        compare_runs([doses], into=tmp_path)


def test_a_clean_verdict_beyond_its_bound_says_by_which_rule() -> None:
    found = examine(load_run(EXAMPLES / "memory-smoke")).memory
    table = verdict_table(found)
    assert "plateau" in table.note
    rules = [row[-1] for row in table.rows if row[2] == "server"]
    assert len(rules) == 1
    assert rules[0].startswith("blocks: a plateau: 211 in all, then none; heap: a plateau")
