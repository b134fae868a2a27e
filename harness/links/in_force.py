"""Whether what a link backend says is in force is what was declared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from harness.errors import LinkFailure
from harness.links.protocol import LinkShaper
from harness.model.links import Impairment, effective
from harness.plan.cell import LinkPlan

__all__ = ["differences", "require_in_force"]

#: Mechanisms keep times in ticks and probabilities in 32 bits, and tell them with six digits.
_SHARE = 1e-4
_TIME_S = 2e-6
#: A queue is told as a time at the rate, to the microsecond, so it may be off by a frame.
_QUEUE_BYTES = 2000
#: Rates are kept in whole bytes per second.
_RATE_BPS = 8.0
_SLACK = {"queue_bytes": _QUEUE_BYTES, "rate_bps": _RATE_BPS}


def differences(declared: Impairment, found: Impairment) -> list[str]:
    """The values in which two impairments differ by more than what mechanisms round, as text."""
    wanted = effective(declared)
    different = []
    for field in fields(Impairment):
        expected, got = getattr(wanted, field.name), getattr(found, field.name)
        if not _alike(field.name, expected, got):
            different.append(f"{field.name} is {got}, not {expected}")
    return different


def _alike(name: str, expected: Any, got: Any) -> bool:
    if name == "burst_loss" and expected is not None and got is not None:
        return all(
            _alike(part.name, getattr(expected, part.name), getattr(got, part.name)) for part in fields(expected)
        )
    if isinstance(expected, bool) or not isinstance(expected, (int, float)) or not isinstance(got, (int, float)):
        return bool(expected == got)
    slack = _TIME_S if name.endswith("_s") else _SLACK.get(name, 1e-7)
    return math.isclose(expected, got, rel_tol=_SHARE, abs_tol=slack)


def require_in_force(shaper: LinkShaper, links: Sequence[LinkPlan]) -> None:
    """Read back what is in force and compare it with these links. Raises LinkFailure for any that differs."""
    found = shaper.read_back()
    wrong = []
    for link in links:
        pair = (link.source, link.target)
        told = ["it is not there"] if pair not in found else differences(link.impairment, found[pair])
        wrong += [f"{link.source} -> {link.target}: {what}" for what in told]
    wrong += [
        f"{a} -> {b}: nobody declared it" for a, b in found if (a, b) not in {(p.source, p.target) for p in links}
    ]
    if wrong:
        raise LinkFailure(
            "links read back differently from what was set: " + "; ".join(wrong), where=f"link backend {shaper.name}"
        )
