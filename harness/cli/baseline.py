"""`harness baseline`: makes and shows the baselines gates compare with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from harness.analysis.leak import METRICS
from harness.errors import BadInput
from harness.memory.baseline import Baseline, Entry, compare
from harness.memory.measured import measure_run, read_baseline, write_baseline
from harness.store.run import load_run

__all__ = ["baseline"]

_FILE = click.Path(path_type=Path)


@click.group()
def baseline() -> None:
    """Baselines of client memory: small files to commit, that `harness gate --baseline` compares with."""


@baseline.command()
@click.argument("run", type=_FILE)
@click.option("--file", "target", type=_FILE, required=True, help="The baseline file.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--allow-leaks", is_flag=True, help="Accept a run with leaks, to gate against their getting worse.")
def update(run: Path, target: Path, dry_run: bool, allow_leaks: bool) -> None:
    """Make RUN the baseline, and show what changes by that."""
    measured, failures, _ = measure_run(load_run(run))
    if failures:
        cell, why = failures[0]
        raise BadInput(f"cell {cell} cannot become a baseline: {why}", where=str(run))
    unsound = [key for key, role in measured.results.items() if role.verdict.state != "clean"]
    if unsound and not allow_leaks:
        named = "; ".join(f"{' '.join(key)} is {measured.results[key].verdict.state}" for key in unsound)
        raise BadInput(
            f"a run that is not clean is no baseline: {named}", where=str(run), remedy="fix it, or --allow-leaks"
        )
    before = read_baseline(target) if target.exists() else None
    for line in _changes(before, measured.baseline):
        click.echo(line)
    if dry_run:
        return
    kept = measured.baseline
    if before is not None and before.host == kept.host and before.scenario == kept.scenario:
        # A run of some of the systems replaces these alone.
        new = {entry.key for entry in kept.entries}
        rest = [entry for entry in before.entries if entry.key not in new]
        kept = replace(kept, entries=tuple(sorted([*rest, *kept.entries], key=lambda entry: entry.key)))
    write_baseline(kept, target)
    click.echo(f"written: {target}; review and commit it")


@baseline.command()
@click.argument("file", type=_FILE)
def show(file: Path) -> None:
    """Show the figures of a baseline."""
    found = read_baseline(file)
    click.echo(f"{found.scenario}, run {found.run}, {found.made}, harness {found.harness}")
    click.echo("host: " + ", ".join(f"{key} {value}" for key, value in found.host.items()))
    for entry in found.entries:
        click.echo(_figures(entry))


def _figures(entry: Entry) -> str:
    parts = [
        f"{np.mean(entry.slopes[name]):+.3g} {METRICS[name].unit}"
        for name in ("blocks", "heap")
        if name in entry.slopes
    ]
    if "anonymous" in entry.rest:
        parts.append(f"{np.mean(entry.rest['anonymous']) / (1 << 20):.1f} MiB at rest")
    return f"{' '.join(entry.key)}: per operation {', '.join(parts)}"


def _changes(before: Baseline | None, now: Baseline) -> list[str]:
    if before is None:
        return [f"new: {_figures(entry)}" for entry in now.entries]
    known = {entry.key: entry for entry in before.entries}
    lines = [
        f"host {key}: {before.host.get(key)} -> {value}"
        for key, value in now.host.items()
        if before.host.get(key) != value
    ]
    for entry in now.entries:
        old = known.pop(entry.key, None)
        if old is None:
            lines.append(f"new: {_figures(entry)}")
            continue
        gone, come = sorted(set(old.packages) - set(entry.packages)), sorted(set(entry.packages) - set(old.packages))
        if gone or come:
            lines.append(f"{entry.stack['name']}: {', '.join(gone) or 'nothing'} -> {', '.join(come) or 'nothing'}")
        lines += [f"{' '.join(entry.key)}: {one.state}: {one.text}" for one in compare(entry, old)]
    return lines + [f"kept from before: {_figures(entry)}" for entry in known.values()]
