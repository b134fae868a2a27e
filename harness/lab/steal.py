"""How much of this machine's processor time the hypervisor gave to others: what no measurement on a guest survives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["processor_times", "steal_sentence", "stolen_share"]

#: Less than this does not show.
_WORTH_TELLING = 0.02


def processor_times(text: str | None = None) -> tuple[int, int]:
    """(ticks stolen, all ticks) of all processors since boot (/proc/stat, proc(5)); zeros where unknown."""
    if text is None:
        try:
            text = Path("/proc/stat").read_text(encoding="ascii")
        except OSError:
            return 0, 0
    fields = text.partition("\n")[0].split()
    # cpu user nice system idle iowait irq softirq steal [guest guest_nice, which user and nice contain already]
    ticks = [int(field) for field in fields[1:9]] if fields[:1] == ["cpu"] else []
    return (ticks[7], sum(ticks)) if len(ticks) == 8 else (0, 0)


def stolen_share(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The share of processor time that was stolen between two readings."""
    return (after[0] - before[0]) / (after[1] - before[1]) if after[1] > before[1] else 0.0


def steal_sentence(shares: Mapping[str, float]) -> str:
    """What a reader must be told about a run of these cells; "" for nothing."""
    told = {cell: share for cell, share in shares.items() if share >= _WORTH_TELLING}
    if not told:
        return ""
    worst = max(told, key=lambda cell: told[cell])
    return (
        f"The hypervisor gave processor time of this machine to others in {len(told)} of {len(shares)} cells, up to "
        f"{told[worst]:.0%} of it (cell {worst}): latencies and CPU of those cells say something about that too."
    )
