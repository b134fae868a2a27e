"""Damaged results: a clear error, or a report that says what it left out; never a wrong figure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import BadInput, DamagedResult
from harness.report.answer import warnings_of
from harness.report.compared import compare_findings
from harness.report.examine import examine
from harness.report.findings import Findings
from harness.report.markdown import run_markdown
from harness.store.run import load_run
from tests.store.made import Made, make_run

MADE = Made(seconds=4, repetitions=2, run_spread=0.02)
VICTIM = "amqp1-r2"
FILES = [
    "manifest.json",
    "scenario.resolved.yaml",
    *(
        f"cells/{VICTIM}/{name}"
        for name in ("cell.json", "operations.parquet", "deliveries.parquet", "processes.parquet")
    ),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("whole"), MADE)


@pytest.fixture(scope="module")
def expected(whole: Path) -> dict[tuple[str, str], float]:
    return medians(examine(load_run(whole)))


def medians(findings: Findings) -> dict[tuple[str, str], float]:
    """Median by cell and pair: what no damage elsewhere may change."""
    return {
        (cell.id, pair.label): summary.p50_ms for cell in findings.cells for pair, summary in cell.latencies.items()
    }


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0], ids=lambda share: f"{share:.0%}")
def test_a_truncated_file(
    whole: Path, expected: dict[tuple[str, str], float], tmp_path: Path, file: str, share: float
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    content = (run / file).read_bytes()
    (run / file).write_bytes(content[: min(int(len(content) * share), len(content) - 1)])
    if file == "manifest.json" and share < 1:
        with pytest.raises(DamagedResult, match="the manifest cannot be read"):
            load_run(run)
        return
    findings = examine(load_run(run))
    found = medians(findings)
    assert found.items() <= expected.items()
    if file.startswith("cells/"):
        assert not any(cell == VICTIM for cell, _ in found)
        (warning,) = [text for text in warnings_of(findings) if VICTIM in text]
        assert Path(file).name in warning
        assert VICTIM in run_markdown(findings)
    else:
        assert found == expected


def test_a_comparison_leaves_it_out_and_says_so(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "cells" / VICTIM / "operations.parquet").write_bytes(b"PAR1")
    comparison = compare_findings([examine(load_run(run))])
    assert comparison.contrasts[0].repetitions == (1, 1)
    assert any("no partner" in note and "rabbit-r2" in note for note in comparison.notes)


def test_nothing_but_rubble_is_a_clear_error(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for path in run.glob("cells/*/operations.parquet"):
        path.unlink()
    findings = examine(load_run(run))
    assert findings.pairs == ()
    assert "No operation was measured." in run_markdown(findings)
    with pytest.raises(BadInput, match="no valid cell"):
        compare_findings([findings])
