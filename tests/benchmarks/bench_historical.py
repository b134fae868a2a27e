"""Are historical leaks found, and their mended releases left alone? Writes results/memory/historical.md.

    python -m tests.benchmarks.bench_historical [--report DIRECTORY] [RUN ...]

Measures scenarios/memory-historical*.yaml, or takes runs of them that were stored before (of some of their systems
each); what was told of other systems before is measured anew or lost.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.analysis.leak import METRICS
from harness.lab.measure import measure_memory
from harness.memory.result import DoseResult, RoleResult, worst
from harness.memory.stored import stored_results
from harness.store.run import load_run

SCENARIOS = tuple(
    Path(f"scenarios/memory-historical{of}.yaml") for of in ("", "-rabbit", "-oslo", "-pyngus", "-pyngus-alone")
)
#: The last release that leaks, by library and dose, () where none does; sources in the scenarios.
LAST_LEAKY: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "proton": {
        "call": (0, 30, 0),
        "abandoned": (0, 30, 0),
        "blocking-dropped": (0, 29, 0),
        "blocking-silent": (0, 33, 0),
    },
    "amqp": {"evented": (5, 0, 6), "connect": (), "call": ()},
    "pyngus": {"call": (2, 0, 3)},
    "alone": {"call": (2, 0, 3), "transport": (2, 0, 2), "reconnect": (2, 0, 2), "connect": ()},
    "oslo": {"topic": (5, 13, 0)},
}

_HEAD = """# Historical leaks

Releases with leaks that are known from their projects' issues and commits, and the releases that mended them, under the
same doses: `make bench-historical`. Sources are in scenarios/memory-historical.yaml and its four neighbours;
`pyngus` is pyngus beneath oslo.messaging, `alone` by itself. Growth beside "clean" drained at rest: a backlog.

| Stack | Dose | Known | Verdict | | Growth per operation of the client |
| --- | --- | --- | --- | --- | --- |
"""


def lines(system: str, dose: DoseResult) -> Iterator[str]:
    """The row of one dose."""
    library, *release = system.split("-")
    leaky = tuple(int(part) for part in release) <= LAST_LEAKY[library][dose.name]
    state = worst(role.verdict.state for role in dose.roles)
    right = state == ("leak" if leaky else "clean")
    client = next(role for role in dose.roles if role.role == "client")
    told = ", ".join(
        f"{growth.per_op:.3g} {METRICS[name].unit}"
        for name, growth in client.verdict.growths.items()
        if name in ("blocks", "heap", "fds")
    )
    known = "leaks" if leaky else "mended" if LAST_LEAKY[library][dose.name] else "never leaked"
    yield f"| {system} | {dose.name} | {known} | {state} | {'' if right else 'WRONG'} | {told} |"


def evidence(system: str, dose: str, role: RoleResult) -> Iterator[str]:
    """What the run says that leaks."""
    if role.attribution is None:
        return
    yield f"**{system}, {dose}, {role.role}**: {role.verdict.why}"
    yield ""
    yield from (f"- {sentence}" for sentence in role.attribution.sentences[:3])
    for site in role.attribution.sites[:1]:
        yield f"- allocated: {' < '.join(site['frames'][:4])}"
    yield ""


def main(arguments: Sequence[str]) -> int:
    """Measure or load, and write the report; 1 if a verdict is wrong."""
    parser = ArgumentParser()
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--report", type=Path, default=Path("results/memory"))
    wanted = parser.parse_args(arguments)
    rows: list[str] = []
    told: list[str] = []
    for path in wanted.runs or [measure_memory(scenario, Path("results")) for scenario in SCENARIOS]:
        for cell, result in stored_results(load_run(path)):
            known = LAST_LEAKY[cell.system.split("-")[0]]
            for dose in (dose for dose in result.doses if dose.name in known):
                rows += lines(cell.system, dose)
                for role in dose.roles:
                    told += evidence(cell.system, dose.name, role)
    text = _HEAD + "\n".join(sorted(rows)) + "\n\n## What leaks\n\n" + "\n".join(told).rstrip() + "\n"
    wanted.report.mkdir(parents=True, exist_ok=True)
    (wanted.report / "historical.md").write_text(text, encoding="utf-8")
    print(text)
    return int("WRONG" in text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
