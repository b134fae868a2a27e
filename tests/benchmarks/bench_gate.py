"""How often the gate calls two identical measurements different, on this machine.

    python -m tests.benchmarks.bench_gate [SYSTEM ...] [--pairs N] [--report DIRECTORY]     (default: loopback, 50)

Systems are those of `harness calibrate`. Every pair is one dose measured twice in fresh processes, the first time as
a baseline, and goes through the gate's own code. Doses of a pair are not neighbours: all first ones are measured
before all second ones, so that drift of the machine counts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from harness.cli.calibrate import SYSTEMS
from harness.cli.progress import make_observer
from harness.errors import ExitCode
from harness.files import scenario_from_text
from harness.lab.run import RunSettings, run_scenario
from harness.memory.calibration import bounds
from harness.memory.gate import check_run, foreign
from harness.memory.measured import measure_run
from harness.store.run import load_run

KINDS = (("call", 200), ("connect", 20))


def measure(system: str, pairs: int, results: Path) -> Counter[ExitCode]:
    """Exit codes of the gate over so many pairs."""
    spec, runtime, _ = SYSTEMS[system]
    doses = {
        f"{half}-{number}": {"kind": kind, "count": count}
        for half in ("first", "second")
        for number, (kind, count) in enumerate(KINDS[i % len(KINDS)] for i in range(pairs))
    }
    data = {
        "name": "identical",
        "topology": {"name": "one-site", "sites": ["here"]},
        "systems": {system: spec},
        "memory": {"doses": doses, "repetitions": 3, "doublings": 0, "attribute": False, "rest": 0},
    }
    loaded = scenario_from_text(yaml.safe_dump(data, sort_keys=False), f"{pairs} identical pairs")
    with make_observer(False) as observer:
        path = run_scenario(loaded, RunSettings(results=results, runtime=runtime), observer)
    measured, failures, _ = measure_run(load_run(path))
    codes: Counter[ExitCode] = Counter()
    for number in range(pairs):
        before, now = (
            replace(
                measured.baseline,
                entries=tuple(
                    replace(entry, dose="dose")
                    for entry in measured.baseline.entries
                    if entry.dose == f"{half}-{number}"
                ),
            )
            for half in ("first", "second")
        )
        assert not foreign(now, before)
        found = {
            (key[0], "dose", key[2]): role for key, role in measured.results.items() if key[1] == f"second-{number}"
        }
        report = check_run(replace(measured, baseline=now, results=found), failures, {}, before, {})
        codes[report.exit_code] += 1
        for check in report.checks:
            if check.outcome != "pass":
                print(f"  pair {number}: {check.name}: {check.outcome}: {check.text}")
    return codes


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the report if one is wanted."""
    parser = ArgumentParser()
    parser.add_argument("systems", nargs="*", default=["loopback"])
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--report", type=Path)
    wanted = parser.parse_args(arguments)
    for system in wanted.systems:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as results:
            codes = measure(system, wanted.pairs, Path(results))
        wrong = codes[ExitCode.REGRESSION]
        line = (
            f"| {system} | {wanted.pairs} | {codes[ExitCode.OK]} | {wrong} | {codes[ExitCode.INCONCLUSIVE]} | "
            f"{bounds(wrong, wanted.pairs)[1]:.1%} | {time.monotonic() - start:.0f} |"
        )
        print(line, flush=True)
        if wanted.report is not None:
            _report(wanted.report / "gate-pairs.md", system, line)
    return 0


_HEAD = """# Identical pairs through the gate

Each pair is one dose measured twice, the first time as the baseline. At most: exact (Clopper and Pearson) upper bound
at 95 % of the share of pairs called a regression.

| System | Pairs | Passed | Regression | Open | At most | Seconds |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def _report(path: Path, system: str, line: str) -> None:
    """Write a system's line, in place of an earlier one."""
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else _HEAD.splitlines()
    kept = [each for each in before if not each.startswith(f"| {system} |")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*kept, line]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
