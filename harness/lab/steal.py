"""How much of this machine's processor time the hypervisor gave to others: what no measurement on a guest survives."""

from __future__ import annotations

from pathlib import Path

__all__ = ["processor_times", "stolen_share"]


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
