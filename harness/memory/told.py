"""A verdict as text: what a failing test says. Pure."""

from __future__ import annotations

from harness.analysis.leak import METRICS
from harness.memory.result import RoleResult

__all__ = ["told"]


def told(result: RoleResult, count: int, repetitions: int) -> str:
    """The verdict, its evidence, and what leaks."""
    verdict = result.verdict
    lines = [f"client memory: {verdict.state}: {verdict.why}"]
    if result.attribution is not None:
        lines += [f"  {sentence}" for sentence in result.attribution.sentences]
        lines += [f"  held: {chain}" for chains in result.attribution.holders.values() for chain in chains[:2]]
        lines += [
            f"  allocated: {' < '.join(site['frames'][:5])} ({site['bytes_per_op']:.3g} B, "
            f"{site['blocks_per_op']:.3g} blocks per operation)"
            for site in result.attribution.sites[:4]
        ]
    lines.append(f"  evidence, from {repetitions} processes, {count} operations per block; growth per operation:")
    for name, growth in verdict.growths.items():
        if METRICS[name].decides != "never":
            lines.append(
                f"    {name:10} {growth.per_op:10.4g} [{growth.low:.4g}, {growth.high:.4g}]  limit {growth.delta:g}, "
                f"detectable {growth.mdl:.3g}: {growth.state}, {growth.why}"
            )
    if verdict.state == "inconclusive":
        lines.append("  what would settle it: a larger count, more repetitions, or more doublings")
    return "\n".join(lines)
