"""Whether a link backend kept to its own envelope: a cell whose emulator was late or lost packets is invalid. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["LATE", "MAX_LATENESS_P99_S", "judge_emulator", "meanwhile"]

#: A p99 of lateness beyond this makes distance untrue.
MAX_LATENESS_P99_S = 0.001
#: How the sentence begins that says so.
LATE = "packets were released late"


def judge_emulator(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """{"valid": bool, "why": [sentences]} for the emulator's account of itself.

    Invalid when the p99 of how late packets were released exceeds 1 ms, or when the kernel dropped any packet before
    the emulator saw it. Drops the impairment asked for (loss, a full rate queue, a cut) are what was declared.
    """
    why = []
    lateness = evidence["lateness"]
    if lateness["packets"] and lateness["p99_s"] > MAX_LATENESS_P99_S:
        why.append(
            f"{LATE}: p99 {lateness['p99_s'] * 1e3:.2f} ms beyond their delay, allowed {MAX_LATENESS_P99_S * 1e3:g} ms"
        )
    kernel = evidence["kernel"]
    for column, meaning in (
        ("queue_dropped", "a full packet queue"),
        ("socket_dropped", "an emulator that could not read fast enough"),
    ):
        if kernel[column]:
            why.append(f"the kernel dropped {kernel[column]} packets for {meaning}")
    if evidence["refused_verdicts"]:
        why.append(f"the kernel refused {evidence['refused_verdicts']} verdicts")
    return {"valid": not why, "why": why}


def meanwhile(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence of what happened between two accounts of the same backend, judged anew.

    Counters are subtracted; percentiles of lateness are taken from the difference of the histograms, to the upper
    edge of a bucket. What is not counted (a backend that does not measure its lateness) is as in `after`.
    """
    found = dict(after)
    earlier = {(link["source"], link["target"]): link for link in before["links"]}
    found["links"] = [_less(link, earlier.get((link["source"], link["target"]), {})) for link in after["links"]]
    for name in ("refused_verdicts", "arrivals_timed_by_kernel", "cpu_s"):
        if name in after:
            found[name] = after[name] - before[name]
    if "at_s" in after:
        found["seconds"] = after["at_s"] - before["at_s"]
    if not after.get("lateness"):
        return found
    waiting = after["kernel"]["waiting"]
    found["kernel"] = {**_less(after["kernel"], before["kernel"]), "waiting": waiting}
    found["lateness"] = _lateness(before["lateness"]["histogram"], after["lateness"]["histogram"])
    return {**found, **judge_emulator(found)}


def _less(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Every whole number less what it was before."""
    return {name: value - before.get(name, 0) if isinstance(value, int) else value for name, value in after.items()}


def _lateness(before: list[list[float]], after: list[list[float]]) -> dict[str, Any]:
    counts = {edge_s: round(count) for edge_s, count in after}
    for edge_s, count in before:
        counts[edge_s] = counts.get(edge_s, 0) - round(count)
    histogram = [[edge_s, count] for edge_s, count in sorted(counts.items()) if count > 0]
    total = sum(count for _, count in histogram)

    def at(share: float) -> float:
        seen = 0.0
        for edge_s, count in histogram:
            seen += count
            if seen >= share * total:
                return edge_s
        return 0.0

    return {
        "packets": total,
        "p50_s": at(0.5),
        "p99_s": at(0.99),
        "p999_s": at(0.999),
        "max_s": histogram[-1][0] if histogram else 0.0,
        "histogram": histogram,
    }
