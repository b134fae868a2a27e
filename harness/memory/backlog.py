"""What drains at rest has not leaked: growth judged between rests longer than every time-out. Pure.

A process that confirms growth rests before and after its blocks. Objects that wait for a time-out are gone then. What
C libraries pool, and what a large backlog has torn the heap into, stays at its largest: where only native memory is
left, another round of blocks is given, and only what a round adds beyond the one before is growth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.leak import METRICS, Growth, State, Verdict
from harness.analysis.theilsen import theil_sen
from harness.memory.result import Reading, RoleResult

__all__ = ["LASTING", "another_round", "at_rest", "growing", "last_round", "slope", "stays", "without_backlog"]

#: Share of the original slope that growth must still have to be called lasting.
LASTING = 0.5
_NATIVE = ("heap", "anonymous")


def growing(role: RoleResult) -> tuple[Growth, ...]:
    """What leaves a role's verdict open and grows by more than its limit: a backlog, if it drains at rest."""
    open_ones = _open(role.verdict) if role.verdict.state == "inconclusive" else ()
    return open_ones if any(g.per_op > g.delta for g in open_ones) else ()


def another_round(role: RoleResult, rests: Sequence[Reading]) -> bool:
    """Whether another round of blocks is needed: after a rest, all that is left of the growth is native memory."""
    suspects = role.verdict.leaking if role.verdict.state == "leak" else growing(role)
    left = [g for g in suspects if stays(g, rests)]
    return bool(left) and all(g.metric in _NATIVE for g in left)


def without_backlog(role: RoleResult, rests: Sequence[Reading]) -> RoleResult:
    """The result of a role that leaks or is open, without the growth that is gone at rest. What is open because it is
    uneven, its limit within the bounds, is settled by rests as well, where another role made them be taken.

    Args:
        rests: readings of one process after long rests, before and after its rounds of blocks; () if it had none.
    """
    suspects = role.verdict.leaking if role.verdict.state == "leak" else _open(role.verdict)
    gone = {g.metric: replace(g, state="clean", why=_why(g, rests)) for g in suspects if not stays(g, rests)}
    if not gone:
        return role
    growths: dict[str, Growth] = {**role.verdict.growths, **gone}
    left = [g for g in suspects if g.metric not in gone and g.state == "leak"]
    state: State = "leak"
    if not left:
        left = list(_open(replace(role.verdict, growths=growths)))
        state = "inconclusive" if left else "clean"
    why = "; ".join(f"{g.metric}: {g.why}" for g in left) or "; ".join(sorted({g.why for g in gone.values()}))
    return replace(role, verdict=Verdict(state, growths, why))


def stays(growth: Growth, rests: Sequence[Reading]) -> bool:
    """Whether growth is still there after a rest: by more than the limit, or by the better part of it; of growth that
    is open, by the better part of what it may be."""
    left = at_rest(rests, growth.metric)
    seen = growth.high if growth.state == "inconclusive" else growth.per_op
    gone = left is not None and left <= growth.delta and left < LASTING * seen
    return not gone  # growth that is not known (None, NaN) has not gone


def at_rest(rests: Sequence[Reading], metric: str) -> float | None:
    """Growth per operation between the last two rests; None without two."""
    return slope(rests[-2:], metric) if len(rests) >= 2 else None


def last_round(readings: Sequence[Reading], rests: Sequence[Reading]) -> Sequence[Reading]:
    """The readings of the last round of blocks, between the last two rests; all of them where there was one round."""
    if len(rests) <= 2:
        return readings
    return [reading for reading in readings if reading["operations"] >= rests[-2]["operations"]]


def slope(readings: Sequence[Reading], metric: str) -> float:
    """Growth per operation through readings: robust (Theil-Sen) where there are more than two."""
    points = [(float(r["operations"]), float(r[metric])) for r in readings if r.get(metric) is not None]
    if len(points) == 2:
        (x0, y0), (x1, y1) = points
        return (y1 - y0) / (x1 - x0)
    trend = theil_sen([x for x, _ in points], [y for _, y in points])
    return trend.slope if trend else 0.0


def _open(verdict: Verdict) -> tuple[Growth, ...]:
    """What keeps a verdict from being clean, if nothing leaks."""
    growths = verdict.growths.values()
    return tuple(g for g in growths if g.state == "inconclusive" and METRICS[g.metric].decides == "always")


def _why(growth: Growth, rests: Sequence[Reading]) -> str:
    left = f"{at_rest(rests, growth.metric) or 0.0:.2g} per operation of it is left"
    if len(rests) > 2 and growth.metric in _NATIVE:
        return f"a pool or what a backlog left: after another round {left}"
    # Mean growth that is no more than its limit needs no backlog to explain it.
    what = "uneven" if growth.state == "inconclusive" and growth.per_op <= growth.delta else "a backlog"
    return f"{what}: at rest, after every time-out, {left}"
