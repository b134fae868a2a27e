"""How often `harness compare` is right, and what it and `harness resume` cost.

    python -m tests.benchmarks.bench_compare [--real RUN] [--into DIRECTORY]

- simulated pairs of identical systems (5 paired repetitions of the quickstart's length, 4 % noise from run to run,
  through the real store): how many are called different; the same with one side's latency 10 % longer: how many of
  those are found, with exact intervals
- real pairs: RUN is a run of tests/benchmarks/aa.yaml, the same system twice; its repetitions are taken five by five
- wall-clock seconds of `harness compare` of two runs of one million operations each, in a fresh process
- what a killed run costs more when it is gone on with: from the start of `harness resume` until its first cell begins
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.memory.calibration import bounds
from harness.report.compared import Comparison, compare_systems
from harness.report.examine import examine
from harness.report.findings import Findings
from harness.store.run import load_run
from tests.store.made import Made, make_run

ROOT = Path(__file__).parents[2]
#: Pairs simulated of each kind, repetitions of each pair, and how much runs vary (METHODS: 4 % measured).
#: Of 100 pairs, a share of 83 % comes out anywhere from 74 to 90 %, so there are more.
PAIRS, REPETITIONS, NOISE = 300, 5, 0.04
TARGET = "remote-call, edge-a to core"


def pairs_called(comparisons: list[Comparison]) -> dict[str, Any]:
    """Of these comparisons, how many call any metric, or a median, different; and how many metrics of all."""
    calls = [[e for c in each.contrasts for e in c.effects] for each in comparisons]
    different = [[e for e in effects if e.effect.verdict in ("better", "worse")] for effects in calls]
    named: dict[str, int] = {}
    for effects in different:
        for e in effects:
            named[f"{e.metric.kind}: {e.metric.name}"] = named.get(f"{e.metric.kind}: {e.metric.name}", 0) + 1
    metrics = sum(map(len, calls))
    return {
        "pairs": len(comparisons),
        "pairs_with_a_median_called_different": sum(any(e.metric.name == "p50" for e in own) for own in different),
        "pairs_with_any_metric_called_different": sum(map(bool, different)),
        "metrics": metrics,
        "metrics_called_different": sum(map(len, different)),
        "share_of_metrics": round(sum(map(len, different)) / metrics, 4) if metrics else None,
        "called": named,
    }


def compared(findings: Findings) -> Comparison:
    """The two systems of a run."""
    comparison = compare_systems(findings)
    assert comparison is not None
    return comparison


def simulated_pair(scratch: Path, shift: float, number: int) -> Comparison:
    """Two systems that differ by a factor in latency, 1 for none."""
    seed = number + (1000 if shift != 1 else 0)
    made = Made(
        systems=("left", "right"),
        seconds=15,
        warmup_s=0,
        rate=50,
        repetitions=REPETITIONS,
        run_spread=NOISE,
        seed=seed,
        faster={"right": shift},
    )
    with tempfile.TemporaryDirectory(dir=scratch) as own:
        return compared(examine(load_run(make_run(Path(own), made))))


def simulated(scratch: Path, shift: float) -> list[Comparison]:
    """Many such pairs."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(partial(simulated_pair, scratch, shift), range(PAIRS)))


def real(run: Path) -> Iterator[Comparison]:
    """The repetitions of a run, five by five."""
    findings = examine(load_run(run))
    for first in range(1, findings.repetitions - REPETITIONS + 2, REPETITIONS):
        kept = tuple(c for c in findings.cells if first <= c.repetition < first + REPETITIONS and c.state == "valid")
        if min(sum(c.system.name == name for c in kept) for name in {s.name for s in findings.systems}) == REPETITIONS:
            yield compared(replace(findings, cells=kept))


def found(comparisons: list[Comparison]) -> dict[str, Any]:
    """How often the medians that really differ are called worse."""
    medians = [
        e.effect.verdict == "worse" for each in comparisons for c in each.contrasts for e in c.effects
        if e.metric.name == "p50"
    ]  # fmt: skip
    first = [
        next(
            e.effect.verdict == "worse"
            for c in each.contrasts
            for e in c.effects
            if e.metric.label == f"p50 of {TARGET}"
        )
        for each in comparisons
    ]
    return {
        "pairs": len(comparisons),
        "share_of_one_median_found": round(sum(first) / len(first), 3),
        "interval": [round(bound, 3) for bound in bounds(sum(first), len(first))],
        "share_of_all_medians_found": round(sum(medians) / len(medians), 3),
    }


def compare_million(scratch: Path) -> dict[str, float]:
    """`harness compare` of two runs, each of a million operations, in a fresh process."""
    made = Made(systems=("rabbit",), seconds=20, warmup_s=0, rate=1667, repetitions=5)
    paths = [make_run(scratch, replace(made, seed=seed), run_id=f"million-{seed}") for seed in (1, 2)]
    operations = made.seconds * made.rate * 6 * made.repetitions
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "harness", "compare", *map(str, paths)], check=True, capture_output=True)
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "operations_each": operations,
        "wall_s": round(took, 2),
        "cpu_s": round(cpu, 2),
        "peak_mib": round(after.ru_maxrss / 1024),
    }


def resume_overhead(scratch: Path) -> dict[str, float]:
    """Kill a campaign in its second cell, go on with it: seconds until the first cell begins, and cells run twice."""
    results = ["--results", str(scratch / "resumed"), "--json"]
    scenario = scratch / "resumed.yaml"
    scenario.write_text((ROOT / "scenarios" / "loopback.yaml").read_text() + "repetitions: 3\n")
    command = [sys.executable, "-u", "-m", "harness"]
    first = subprocess.Popen(
        [*command, "run", str(scenario), "--runtime", "fake", *results], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    over = 0
    for line in first.stdout:
        event = json.loads(line)
        over += event["event"] == "cell_ended"
        if over and event["event"] == "tick":
            first.kill()
            break
    first.communicate()
    began = time.perf_counter()
    again = subprocess.Popen(
        [*command, "resume", str(scratch / "resumed" / "loopback"), "--json"], stdout=subprocess.PIPE, text=True
    )
    assert again.stdout is not None
    until_first, begun = 0.0, set()
    for line in again.stdout:
        event = json.loads(line)
        if event["event"] == "phase" and event["cell"]:
            until_first = until_first or time.perf_counter() - began
            begun.add(event["cell"])
    again.wait()
    return {"until_first_cell_s": round(until_first, 2), "cells_run_twice": len(begun) - (3 - over - 1)}


def main() -> None:
    """Measure everything, print it as JSON, and write it where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", type=Path)
    parser.add_argument("--into", type=Path)
    wishes = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        figures: dict[str, Any] = {
            "identical_simulated": pairs_called(simulated(scratch, 1.0)),
            "ten_percent_slower_simulated": found(simulated(scratch, 1.1)),
            "compare_two_runs": compare_million(scratch),
            "resume": resume_overhead(scratch),
        }
    if wishes.real:
        figures["identical_real"] = pairs_called(list(real(wishes.real)))
    today = time.strftime("%Y-%m-%d", time.gmtime())
    figures = {part: {"on": today, **measured} for part, measured in figures.items()}
    print(json.dumps(figures, indent=1))
    if wishes.into:
        wishes.into.mkdir(parents=True, exist_ok=True)
        path = wishes.into / "compare.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**before, **figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
