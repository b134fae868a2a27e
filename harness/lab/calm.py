"""Waiting for a machine that is calm enough: links are probed again where the machine, not the links, was wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.lab.steal import processor_times, stolen_share
from harness.links.envelope import meanwhile
from harness.links.measurement import LinkVerdict

__all__ = ["probe_when_calm"]

#: Pauses before each further probe, seconds: busy spells of a shared host are mostly shorter than their sum.
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
#: A hypervisor that takes more than this share of the processors moves a median round trip.
_DISTURBING_SHARE = 0.02


def probe_when_calm(
    probe: Callable[[], Sequence[LinkVerdict]],
    evidence: Callable[[], Mapping[str, Any]],
    say: Callable[[str], None],
    *,
    stolen: Callable[[], tuple[int, int]] = processor_times,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Sequence[LinkVerdict], int]:
    """Probe the links; again, after growing pauses (30 s in all), while they are off and the machine was disturbed.

    The machine was disturbed if the shaper says that it was late during the very probe, or if the hypervisor took
    processor time. Links that are off on an undisturbed machine are wrong, and waiting would not mend them.

    Args:
        probe: measures every link and judges it.
        evidence: the shaper's account of itself so far.
        say: tells the user why it takes longer.
        stolen: ticks stolen and ticks in all, since boot.
        sleep: waits that many seconds.

    Returns:
        The last verdicts, and how many probes it took.
    """
    attempt = 0
    while True:
        pause = _PAUSES_S[attempt] if attempt < len(_PAUSES_S) else None
        attempt += 1
        before, ticks = evidence(), stolen()
        verdicts = probe()
        off = [verdict for verdict in verdicts if verdict.off]
        share = stolen_share(ticks, stolen())
        punctual = meanwhile(before, evidence())["valid"]
        if not off or pause is None or (punctual and share <= _DISTURBING_SHARE):
            return verdicts, attempt
        blame = f"the hypervisor took {share:.0%} of the processors" if share > _DISTURBING_SHARE else "it was busy"
        say(f"links are off because of this machine ({blame}), not of themselves: probing again in {pause:g} s")
        sleep(pause)
