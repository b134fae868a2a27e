"""What a comparison says, in sentences, and its tables."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from harness.report import numbers
from harness.report.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.analysis.comparison import Verdict
    from harness.report.compared import Comparison, Contrast, MetricEffect

__all__ = ["compare_tables", "contrast_sentences", "phrase", "too_few"]

_MOST_NAMED = 4
#: Fewer repetitions than this do not tell how much runs vary; fewer than a fair start tell it roughly.
_FEWEST = 3
_FAIR = 5
#: Names longer than this would push the figures out of a table.
_LONGEST_HEADING = 14
#: Stands for a verdict where fewer than two runs of a side have the figure.
_UNMEASURED = "too few values"
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
    counts = Counter(e.effect.verdict if _measured(e) else _UNMEASURED for e in contrast.effects)
    tally = ", ".join(f"{verdict} in {counts[verdict]}" for verdict in (*_VERDICTS, _UNMEASURED) if counts[verdict])
    found = [f"{contrast.b} against {contrast.a}{where}, {n} {how}, {len(contrast.effects)} metrics: {tally}."]
    for verdict in _VERDICTS[1::-1]:
        named = [e for e in _greatest(contrast) if e.effect.verdict == verdict]
        if named:
            listed = "; ".join(f"{e.metric.label} {phrase(e)}" for e in named[:_MOST_NAMED])
            more = f"; and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
            found.append(f"{verdict.capitalize()}: {listed}{more}.")
    return [*found, *_advice(contrast), *_lacking(contrast)]


def too_few(contrasts: Sequence[Contrast]) -> list[str]:
    """A warning where repetitions are too few, and how many would do."""
    n = min((min(contrast.repetitions) for contrast in contrasts), default=_FAIR)
    if n >= _FAIR:
        return []
    if n == 1:
        return [
            "One repetition gives no verdict, because nothing tells how much the next would differ: "
            f"{_FAIR} are a fair start."
        ]
    if n < _FEWEST:
        return [f"Two repetitions tell little of how runs vary, and not how many would do: {_FAIR} are a fair start."]
    needed = [e.effect.needed for contrast in contrasts for e in contrast.effects if _open(e)]
    known = sorted(count for count in needed if count is not None)
    would = f"; half of the metrics that are open take about {known[len(known) // 2]}" if known else ""
    return [f"{n} repetitions tell only roughly how much runs vary: {_FAIR} are a fair start{would}."]


def _measured(found: MetricEffect) -> bool:
    """Whether both sides have values enough for an interval."""
    return math.isfinite(found.effect.detectable)


def _open(found: MetricEffect) -> bool:
    return found.effect.verdict == "inconclusive" and _measured(found)


def _greatest(contrast: Contrast) -> list[MetricEffect]:
    def size(e: MetricEffect) -> float:
        if e.effect.scale == "ratio":
            return abs(math.log(e.effect.effect)) if e.effect.effect > 0 else 0.0
        return abs(e.effect.effect) / max(e.effect.tolerance, 1e-12) * 1e-3

    return sorted(contrast.effects, key=size, reverse=True)


def phrase(found: MetricEffect) -> str:
    """An effect in words: "3.1x lower [2.8, 3.5]", "+12.0 % [+9.0, +15.0]", "-0.4 points [-0.5, -0.3]", "+10.0 s"."""
    e = found.effect
    if e.scale == "difference":
        if not e.effect:
            return "alike"
        times, unit = _unit(found)
        sign = "+" if e.effect > 0 else ""
        shift = f"{sign}{numbers.number(e.effect * times)} {unit}"
        return f"{shift} {_interval(e.low * times, e.high * times)}".strip()
    if e.effect >= 2 or e.effect <= 0.5:
        up = e.effect >= 1
        times = e.effect if up else 1 / e.effect
        low, high = (e.low, e.high) if up else (_inverse(e.high), _inverse(e.low))
        return f"{numbers.number(times)}x {'higher' if up else 'lower'} {_interval(low, high)}".strip()
    percent = [numbers.signed((value - 1) * 100) for value in (e.effect, e.low, e.high)]
    return f"{percent[0]} %" + (f" [{percent[1]}, {percent[2]}]" if math.isfinite(e.low) else "")


def _unit(found: MetricEffect) -> tuple[float, str]:
    """What a difference is multiplied by and counted in: shares in points of a per cent, the rest in its own unit."""
    return (100.0, "points") if found.metric.unit == "share" else (1.0, found.metric.unit)


def _detectable(found: MetricEffect) -> str:
    """The least difference that would be found: a share of the value for ratios, else in the metric's unit."""
    value = found.effect.detectable
    if found.effect.scale == "ratio":
        return numbers.share(value)
    times, unit = _unit(found)
    return f"{numbers.number(value * times)} {unit}" if math.isfinite(value) else numbers.NONE


def _inverse(value: float) -> float:
    return 1 / value if value else math.inf


def _interval(low: float, high: float) -> str:
    return f"[{numbers.number(low)}, {numbers.number(high)}]" if math.isfinite(low) and math.isfinite(high) else ""


def _advice(contrast: Contrast) -> Iterator[str]:
    """How many repetitions would settle what is open; nothing where they are too few to say (see too_few)."""
    needed = [e.effect.needed for e in contrast.effects if _open(e)]
    if not needed or min(contrast.repetitions) < _FEWEST:
        return
    known = sorted(count for count in needed if count is not None)
    are_open = numbers.plural(len(needed), "metric is", "metrics are")
    if not known:
        yield f"{are_open} open, and would take more than 1,000 repetitions: runs vary too much."
        return
    takes = f"takes about {known[len(known) // 2]} repetitions"
    if len(known) > 1:
        takes += f" for half of them and {known[-1]} for the most variable"
    if len(known) < len(needed):
        takes += f", and more than 1,000 for {len(needed) - len(known)}"
    yield f"{are_open} open: to find a difference as large as the tolerance {takes}."


def _lacking(contrast: Contrast) -> Iterator[str]:
    """What has no verdict because it was not measured often enough, though there are repetitions."""
    lacking = [e.metric.label for e in contrast.effects if not _measured(e)]
    if lacking:
        more = f" and {len(lacking) - _MOST_NAMED} more" if len(lacking) > _MOST_NAMED else ""
        yield f"Fewer than two runs of a side have {', '.join(lacking[:_MOST_NAMED])}{more}: no verdict on these."


def compare_tables(comparison: Comparison) -> list[Table]:
    """One table per contrast."""
    return [_table(at, contrast, comparison) for at, contrast in enumerate(comparison.contrasts)]


def _table(at: int, contrast: Contrast, comparison: Comparison) -> Table:
    where = f", {contrast.context}" if contrast.context else ""
    a, b, title = _names(contrast)
    rows = tuple(
        (
            e.metric.kind,
            e.metric.subject,
            e.metric.name if e.metric.unit in e.metric.name else f"{e.metric.name}, {e.metric.unit}",
            e.effect.verdict if _measured(e) or min(contrast.repetitions) < 2 else _UNMEASURED,
            phrase(e),
            e.effect.a,
            e.effect.b,
            e.effect.effect,
            e.effect.low,
            e.effect.high,
            e.effect.corrected,
            _detectable(e),
            e.effect.detectable,
            e.effect.needed,
            e.effect.why,
        )
        for e in contrast.effects
    )
    scale = numbers.number
    return Table(
        f"contrast-{at}",
        f"{title}{where}",
        "Typical values are means of the runs (geometric for ratios). Effects carry 95 % intervals; a verdict needs an "
        f"interval that excludes no difference, an effect beyond the tolerance ({comparison.tolerance:.0%}, or 1 in "
        "1,000 messages) and a p-value that survives the correction across all subjects of its figure. Detectable: the "
        "least difference these runs find with 80 % power. Needed: repetitions that find one of the tolerance's size.",
        (
            Column("Kind", "kind"),
            Column("Subject", "subject"),
            Column("Metric", "metric"),
            Column("Verdict", "verdict"),
            Column("Effect", "effect_text"),
            Column(a, "a", scale),
            Column(b, "b", scale),
            Column("Ratio or difference", "effect", scale, csv_only=True),
            Column("Low", "low", scale, csv_only=True),
            Column("High", "high", scale, csv_only=True),
            Column("Corrected p", "corrected_p", scale, csv_only=True),
            Column("Detectable", "detectable_text", str, detail=True),
            Column("Detectable, as a number", "detectable", scale, csv_only=True),
            Column("Needed", "repetitions_needed", numbers.count, detail=True),
            Column("Why", "why", detail=True),
        ),
        rows,
        lead=2,
    )


def _names(contrast: Contrast) -> tuple[str, str, str]:
    """What the sides are called in headings, and the title: names too long for a heading become letters."""
    a, b = contrast.a, contrast.b
    if max(len(a), len(b)) <= _LONGEST_HEADING:
        return a, b, f"{b} against {a}"
    return "A", "B", f"B = {b} against A = {a}"
