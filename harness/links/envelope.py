"""Whether a link backend kept to its own envelope: a cell whose emulator was late or lost packets is not valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_LATENESS_P99_S", "judge_emulator"]

#: A p99 of lateness beyond this makes distance untrue.
MAX_LATENESS_P99_S = 0.001


def judge_emulator(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """{"valid": bool, "why": [sentences]} for the emulator's account of itself.

    Invalid when the p99 of how late packets were released exceeds 1 ms, or when the kernel dropped any packet before
    the emulator saw it. Drops the impairment asked for (loss, a full rate queue, a cut) are what was declared.
    """
    why = []
    lateness = evidence["lateness"]
    if lateness["packets"] and lateness["p99_s"] > MAX_LATENESS_P99_S:
        why.append(
            f"packets were released late: p99 {lateness['p99_s'] * 1e3:.2f} ms beyond their delay, "
            f"allowed {MAX_LATENESS_P99_S * 1e3:g} ms"
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
