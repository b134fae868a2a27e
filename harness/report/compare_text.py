"""What a comparison says, in sentences, and its tables."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from harness.report import numbers
from harness.report.tables import Column, Table

if TYPE_CHECKING:
    from harness.analysis.comparison import Verdict
    from harness.report.compared import Comparison, Contrast, MetricEffect

__all__ = ["compare_tables", "contrast_sentences", "phrase"]

_MOST_NAMED = 4
#: Fewer repetitions than this do not tell how much runs vary.
_FEWEST = 3
_VERDICTS: tuple[Verdict, ...] = ("better", "worse", "equivalent", "inconclusive")


def contrast_sentences(contrast: Contrast) -> list[str]:
    """The verdicts counted, the greatest differences named, and what more repetitions would bring."""
    where = f" ({contrast.context})" if contrast.context else ""
    how = "paired repetitions" if contrast.paired else "repetitions each"
    n = min(contrast.repetitions)
    if n < 2:
        return [
            f"{contrast.b} against {contrast.a}{where}: one repetition gives no verdict. "
            + "; ".join(f"{e.metric.label}: {phrase(e)}" for e in _greatest(contrast)[:_MOST_NAMED])
            + "."
        ]
    counts = Counter(e.effect.verdict for e in contrast.effects)
    tally = ", ".join(f"{verdict} in {counts[verdict]}" for verdict in _VERDICTS if counts[verdict])
    found = [f"{contrast.b} against {contrast.a}{where}, {n} {how}, {len(contrast.effects)} metrics: {tally}."]
    for verdict in _VERDICTS[1::-1]:
        named = [e for e in _greatest(contrast) if e.effect.verdict == verdict]
        if named:
            listed = "; ".join(f"{e.metric.label} {phrase(e)}" for e in named[:_MOST_NAMED])
            more = f"; and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
            found.append(f"{verdict.capitalize()}: {listed}{more}.")
    if advice := _advice(contrast):
        found.append(advice)
    return found


def _greatest(contrast: Contrast) -> list[MetricEffect]:
    def size(e: MetricEffect) -> float:
        if e.effect.scale == "ratio":
            return abs(math.log(e.effect.effect)) if e.effect.effect > 0 else 0.0
        return abs(e.effect.effect) / max(e.effect.tolerance, 1e-12) * 1e-3

    return sorted(contrast.effects, key=size, reverse=True)


def phrase(found: MetricEffect) -> str:
    """An effect in words: "3.1x lower [2.8, 3.5]", "+12.0 % [+9.0, +15.0]", "-0.4 points [-0.5, -0.3]"."""
    e = found.effect
    if e.scale == "difference":
        if not e.effect:
            return "alike"
        return f"{e.effect * 100:+.3g} points {_interval(e.low * 100, e.high * 100)}".strip()
    if e.effect >= 2 or e.effect <= 0.5:
        up = e.effect >= 1
        times = e.effect if up else 1 / e.effect
        low, high = (e.low, e.high) if up else (_inverse(e.high), _inverse(e.low))
        return f"{numbers.number(times)}x {'higher' if up else 'lower'} {_interval(low, high)}".strip()
    percent = [numbers.signed((value - 1) * 100) for value in (e.effect, e.low, e.high)]
    return f"{percent[0]} %" + (f" [{percent[1]}, {percent[2]}]" if math.isfinite(e.low) else "")


def _inverse(value: float) -> float:
    return 1 / value if value else math.inf


def _interval(low: float, high: float) -> str:
    return f"[{numbers.number(low)}, {numbers.number(high)}]" if math.isfinite(low) and math.isfinite(high) else ""


def _advice(contrast: Contrast) -> str:
    """How many repetitions would settle what is open."""
    still = [e for e in contrast.effects if e.effect.verdict == "inconclusive"]
    if not still:
        return ""
    if min(contrast.repetitions) < _FEWEST:
        return (
            f"{numbers.plural(len(still), 'metric is', 'metrics are')} open, and two repetitions tell too little of "
            "how runs vary to say how many would do; five are a fair start."
        )
    needed = [e.effect.needed for e in still]
    known = [n for n in needed if n is not None]
    if not known:
        return f"{numbers.plural(len(still), 'metric')} stay open; they vary too much for repetitions to settle them."
    typical, most = sorted(known)[len(known) // 2], max(known)
    are_open = numbers.plural(len(still), "metric is", "metrics are")
    return (
        f"{are_open} open: to find a difference as large as the tolerance "
        f"takes about {typical} repetitions for half of them and {most} for the most variable"
        + (f", and more than 1,000 for {len(still) - len(known)}." if len(known) < len(still) else ".")
    )


def compare_tables(comparison: Comparison) -> list[Table]:
    """One table per contrast."""
    return [_table(at, contrast, comparison) for at, contrast in enumerate(comparison.contrasts)]


def _table(at: int, contrast: Contrast, comparison: Comparison) -> Table:
    where = f", {contrast.context}" if contrast.context else ""
    rows = tuple(
        (
            e.metric.kind,
            e.metric.subject,
            e.metric.name if e.metric.unit in e.metric.name else f"{e.metric.name}, {e.metric.unit}",
            e.effect.a,
            e.effect.b,
            phrase(e),
            e.effect.verdict,
            e.effect.effect,
            e.effect.low,
            e.effect.high,
            e.effect.corrected,
            e.effect.detectable,
            e.effect.needed,
            e.effect.why,
        )
        for e in contrast.effects
    )
    scale = numbers.number
    return Table(
        f"contrast-{at}",
        f"{contrast.b} against {contrast.a}{where}",
        "Typical values are means of the runs (geometric for ratios). Effects carry 95 % intervals; a verdict needs an "
        f"interval that excludes no difference, an effect beyond the tolerance ({comparison.tolerance:.0%}, or 1 in "
        "1,000 messages) and a p-value that survives the correction across all subjects of its figure. Detectable: the "
        "least difference these runs find with 80 % power. Needed: repetitions that find one of the tolerance's size.",
        (
            Column("Kind", "kind"),
            Column("Subject", "subject"),
            Column("Metric", "metric"),
            Column(contrast.a, "a", scale),
            Column(contrast.b, "b", scale),
            Column("Effect", "effect_text"),
            Column("Verdict", "verdict"),
            Column("Ratio or difference", "effect", scale, csv_only=True),
            Column("Low", "low", scale, csv_only=True),
            Column("High", "high", scale, csv_only=True),
            Column("Corrected p", "corrected_p", scale, csv_only=True),
            Column("Detectable", "detectable", numbers.share, detail=True),
            Column("Needed", "repetitions_needed", numbers.count, detail=True),
            Column("Why", "why", csv_only=True),
        ),
        rows,
        lead=2,
    )
