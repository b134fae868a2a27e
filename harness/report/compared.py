"""Comparing runs, systems or points of a sweep: who is compared with whom, by which metrics, with which verdicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.comparison import TOLERANCE, Effect, Figure, compare_figures, correct
from harness.errors import BadInput
from harness.report.compatibility import AXIS_PARTS, differences
from harness.report.findings import point_texts
from harness.report.metrics import KINDS, Metric, cell_metrics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from harness.report.findings import CellFinding, Findings

__all__ = ["Comparison", "Contrast", "MetricEffect", "compare_findings", "compare_systems"]


@dataclass(frozen=True, slots=True)
class MetricEffect:
    """One metric of one contrast."""

    metric: Metric
    effect: Effect


@dataclass(frozen=True, slots=True)
class Contrast:
    """B against A with everything else alike.

    Attributes:
        a, b: names of the two sides.
        context: what both have in common where there are several contrasts, e.g. "rabbit", "rtt 20 ms".
        paired: whether repetitions were compared pair by pair.
        repetitions: how many on each side.
        effects: by metric, in the order of KINDS.
    """

    a: str
    b: str
    context: str
    paired: bool
    repetitions: tuple[int, int]
    effects: tuple[MetricEffect, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything compared.

    Attributes:
        axis: what the sides differ in: "system", "run", or an axis of the sweep.
        sides: names of the sides, the baseline first.
        contrasts: each side against the baseline, in every context.
        tolerance: relative difference of no interest.
        notes: what a reader must know: parts that differ, cells left out, metrics one side lacks.
    """

    axis: str
    sides: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    tolerance: float
    notes: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per contrast and metric.

        Columns: a, b, context, kind, subject, metric, unit, value_a, value_b (typical values), effect (b / a, or b - a
        where scale is "difference"), low, high (95 % interval), verdict (of b), scale, corrected_p, detectable,
        repetitions_needed, repetitions, why, doubt (what is said against the figures, "" for nothing).
        """
        return pd.DataFrame(
            {
                "a": contrast.a,
                "b": contrast.b,
                "context": contrast.context,
                "kind": e.metric.kind,
                "subject": e.metric.subject,
                "metric": e.metric.name,
                "unit": e.metric.unit,
                "value_a": e.effect.a,
                "value_b": e.effect.b,
                "effect": e.effect.effect,
                "low": e.effect.low,
                "high": e.effect.high,
                "verdict": e.effect.verdict,
                "scale": e.effect.scale,
                "corrected_p": e.effect.corrected,
                "detectable": e.effect.detectable,
                "repetitions_needed": e.effect.needed,
                "repetitions": min(e.effect.n),
                "why": e.effect.why,
                "doubt": e.effect.doubt,
            }
            for contrast in self.contrasts
            for e in contrast.effects
        )

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        columns = ["a", "b", "context", "subject", "metric", "value_a", "value_b", "effect", "low", "high", "verdict"]
        frame = self.frame
        table = frame[columns].to_html(index=False, border=0, float_format=lambda value: f"{value:.4g}")
        return (f"<ul>{notes}</ul>" if notes else "") + str(table)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A cell with its side along the axis and its context."""

    side: str
    context: str
    run: str
    cell: CellFinding


def compare_findings(
    runs: Sequence[Findings],
    *,
    axis: str | None = None,
    baseline: str | None = None,
    allow: Collection[str] = (),
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Compare the valid cells of runs along one axis.

    Args:
        runs: the findings of one or more runs.
        axis: "system", "run" or an axis of the sweep; None: "run" for several runs, else "system", else the only axis
            of the sweep.
        baseline: the side others are compared with; the first one where None.
        allow: parts that may differ besides those the axis is about (see harness.report.compatibility).
        tolerance: relative difference of no interest.

    Raises BadInput: nothing to compare along that axis, or sides that differ in more than it.
    """
    axis = axis or _default_axis(runs)
    once = {(findings.scenario, findings.run): findings for findings in runs}.values()
    placed = [_place(axis, findings, cell) for findings in once for cell in findings.cells if cell.state == "valid"]
    sides = list(dict.fromkeys(p.side for p in placed))
    if baseline is not None:
        if baseline not in sides:
            raise BadInput(f"no side {baseline!r}", expected=f"one of {', '.join(sides)}")
        sides = [baseline, *(side for side in sides if side != baseline)]
    if len(sides) < 2:
        raise BadInput(
            f"there is only one {axis} to compare" if sides else "there is no valid cell to compare",
            where=", ".join(f"{findings.scenario}/{findings.run}" for findings in runs),
            expected="two systems, two runs, or two points of a sweep",
        )
    notes: list[str] = []
    contrasts = []
    for context in dict.fromkeys(p.context for p in placed):
        here = {side: [p for p in placed if p.side == side and p.context == context] for side in sides}
        for side in sides[1:]:
            if not here[sides[0]] or not here[side]:
                notes.append(f"{context or side}: only {' and '.join(s for s in sides if here[s])} ran; not compared.")
                continue
            _require_alike(axis, here[sides[0]], here[side], allow, notes)
            contrasts.append(_contrast(here[sides[0]], here[side], context, tolerance, notes))
    return Comparison(axis, tuple(sides), tuple(_corrected(contrasts)), tolerance, tuple(dict.fromkeys(notes)))


def compare_systems(findings: Findings) -> Comparison | None:
    """The systems of one run against the first of them; None with one system or one repetition."""
    valid = [cell for cell in findings.cells if cell.state == "valid"]
    names = {cell.system.name for cell in valid}
    repeated = [len({cell.repetition for cell in valid if cell.system.name == name}) > 1 for name in names]
    if sum(repeated) < 2:
        return None
    return compare_findings([findings], axis="system")


def _default_axis(runs: Sequence[Findings]) -> str:
    if len(runs) > 1:
        return "run"
    systems = {cell.system.name for findings in runs for cell in findings.cells}
    axes = sorted({name for findings in runs for cell in findings.cells for name in cell.system.point})
    return "system" if len(systems) > 1 or not axes else axes[0]


def _together(axis: str, findings: Findings) -> list[str]:
    """The other axes of a sweep that take a value of their own for each of this one's, as `combine: zip` makes them."""
    points = [cell.system.point for cell in findings.cells if axis in cell.system.point]
    found = []
    for other in dict.fromkeys(name for point in points for name in point if name != axis):
        pairs = {(repr(point[axis]), repr(point.get(other))) for point in points}
        if len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs}) > 1:
            found.append(other)
    return found


def _place(axis: str, findings: Findings, cell: CellFinding) -> _Placed:
    point = dict(cell.system.point)
    name = f"{findings.scenario}/{findings.run}"
    labels = {"system": cell.system.name, **dict(zip(point, point_texts(point), strict=True))}
    if axis == "run":
        return _Placed(name, ", ".join(labels.values()), name, cell)
    if axis not in labels:
        raise BadInput(
            f"no axis {axis!r}",
            where=name,
            expected=f"run, {', '.join(labels)}",
            remedy="name one of these with --axis",
        )
    side = ", ".join(labels.pop(name) for name in (axis, *_together(axis, findings)))
    return _Placed(side, ", ".join(labels.values()), name, cell)


def _require_alike(
    axis: str, a: Sequence[_Placed], b: Sequence[_Placed], allow: Collection[str], notes: list[str]
) -> None:
    """Refuse sides that differ in more than the axis, and cells of different runs that are not alike within a side; a
    lone difference between two runs is taken for the axis."""
    for side in (a, b):
        for other in side:
            if other.run != side[0].run:
                found = differences(side[0].cell.parts, other.cell.parts)
                _refuse(found, found.keys() - set(allow), f"{side[0].side} of {side[0].run} and of {other.run}")
                notes += _allowed(found, f"The runs of {side[0].side}")
    # Two cells of one run, where there are such: its scenario holds everything but the axis fixed.
    here, there = next(((p, q) for p in a for q in b if p.run == q.run), (a[0], b[0]))
    if here.run == there.run and axis not in AXIS_PARTS:
        return
    found = differences(here.cell.parts, there.cell.parts)
    unexpected = found.keys() - set(allow) - AXIS_PARTS.get(axis, frozenset())
    if axis == "run" and len(unexpected) == 1:
        (part,) = unexpected
        notes.append(f"The runs differ in their {part} ({found[part]}); that is taken for what is compared.")
        return
    _refuse(found, unexpected, f"{here.side} and {there.side}")
    notes += _allowed({part: where for part, where in found.items() if part in allow}, "They")


def _refuse(found: Mapping[str, str], unexpected: Collection[str], sides: str) -> None:
    if unexpected:
        parts = [part for part in found if part in unexpected]
        raise BadInput(
            "they differ in more than what is compared: " + "; ".join(f"{part} ({found[part]})" for part in parts),
            where=sides,
            expected="sides that differ in one part only",
            remedy="run both under the same conditions, or allow the parts by name: "
            + " ".join(f"--allow '{part}'" for part in parts),
        )


def _allowed(found: Mapping[str, str], who: str) -> list[str]:
    return [f"{who} differ in their {part} ({where}), which was allowed." for part, where in found.items()]


def _contrast(a: Sequence[_Placed], b: Sequence[_Placed], context: str, tolerance: float, notes: list[str]) -> Contrast:
    common = {_place_in_run(p) for p in a} & {_place_in_run(p) for p in b}
    paired = bool(common)
    if paired:
        if len(a) + len(b) > 2 * len(common):
            notes.append(f"Left out, having no partner of their repetition: {', '.join(_partnerless(a, b))}.")
        a, b = ([p for p in sorted(side, key=_place_in_run) if _place_in_run(p) in common] for side in (a, b))
    load_differs = any(
        part == "load" or part.startswith("workload ") for part in differences(a[0].cell.parts, b[0].cell.parts)
    )
    values_a, values_b = ([cell_metrics(p.cell, load_differs=load_differs) for p in side] for side in (a, b))
    metrics = [m for m in dict.fromkeys(m for v in values_a for m in v) if any(m in v for v in values_b)]
    lacking = {m.label for v in (*values_a, *values_b) for m in v} - {m.label for m in metrics}
    if lacking:
        notes.append(f"Measured on one side only, not compared: {', '.join(sorted(lacking))}.")
    raw = {metric: _effect(metric, values_a, values_b, paired, tolerance) for metric in metrics}
    effects = tuple(MetricEffect(m, raw[m]) for kind in KINDS for m in metrics if m.kind == kind)
    return Contrast(a[0].side, b[0].side, context, paired, (len(a), len(b)), effects)


def _corrected(contrasts: Sequence[Contrast]) -> Iterator[Contrast]:
    """The contrasts with p-values corrected within each kind of metric, over all that is compared."""
    families: dict[str, list[Effect]] = {}
    for contrast in contrasts:
        for e in contrast.effects:
            families.setdefault(e.metric.kind, []).append(e.effect)
    corrected = {kind: iter(correct(effects)) for kind, effects in families.items()}
    for contrast in contrasts:
        effects = tuple(MetricEffect(e.metric, next(corrected[e.metric.kind])) for e in contrast.effects)
        yield replace(contrast, effects=effects)


def _partnerless(a: Sequence[_Placed], b: Sequence[_Placed]) -> list[str]:
    alone = {_place_in_run(p) for p in a} ^ {_place_in_run(p) for p in b}
    return [p.cell.id for p in (*a, *b) if _place_in_run(p) in alone]


def _place_in_run(placed: _Placed) -> tuple[str, int]:
    """What two cells have in common that ran next to each other."""
    return placed.run, placed.cell.repetition


def _effect(
    metric: Metric,
    a: Sequence[dict[Metric, Figure]],
    b: Sequence[dict[Metric, Figure]],
    paired: bool,
    tolerance: float,
) -> Effect:
    if paired:
        both = [(va[metric], vb[metric]) for va, vb in zip(a, b, strict=True) if metric in va and metric in vb]
        xs, ys = [x for x, _ in both], [y for _, y in both]
    else:
        xs, ys = [v[metric] for v in a if metric in v], [v[metric] for v in b if metric in v]
    effect = compare_figures(
        xs,
        ys,
        paired=paired,
        better=metric.better,
        scale=metric.scale,
        tolerance=tolerance if metric.tolerance is None else metric.tolerance,
    )
    missing = max(len(a) - len(xs), len(b) - len(ys))
    if not missing:
        return effect
    if min(effect.n) < 2:
        return replace(effect, why=f"measured in {len(xs)} of {len(a)} and {len(ys)} of {len(b)} runs: too few to tell")
    return replace(effect, why=f"{effect.why}; {missing} cells lack this figure")
