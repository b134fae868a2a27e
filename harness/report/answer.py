"""The answer in sentences, and the warnings that must come before it. The same words in every kind of report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.report import numbers
from harness.report.compare_text import contrast_sentences, too_few
from harness.report.compared import compare_systems
from harness.report.delivery import deaf_sentences
from harness.report.fanout import fanout_sentences
from harness.report.findings import point_texts
from harness.report.growth import growth_sentences
from harness.report.memory import memory_sentences
from harness.report.recovery import recovery_sentences
from harness.report.releases import release_sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.compared import Comparison
    from harness.report.findings import CellFinding, Findings, PairFinding

__all__ = ["Answer", "answer", "warnings_of"]

#: Medians within this factor of each other are called alike in a sentence (never in a verdict).
_ALIKE = 1.15
#: One operation of a pattern, in words.
_OPERATIONS = {
    "rpc-call": "a call",
    "rpc-cast": "a cast",
    "rpc-fanout": "a fanout",
    "notify": "a notification",
    "churn-connect": "connecting and disconnecting",
    "churn-transport": "a transport made for one call",
    "churn-cast": "a transport made for one cast",
    "churn-client": "a call by a new client",
    "churn-topic": "a cast to a new topic",
    "churn-abandon": "a connection given up while being made",
    "churn-link": "opening and closing a link",
    "churn-declare": "declaring a new queue",
    "churn-evented": "a connection of an event loop given up",
    "churn-blocking": "a blocking connection made and closed",
    "churn-server": "starting and stopping a server",
    "churn-listener": "starting and stopping a listener",
}
#: How many pairs the sentences name before pointing at the table.
_MOST_PAIRS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """Warnings first, then what was found; each a sentence or two of plain text."""

    warnings: tuple[str, ...]
    sentences: tuple[str, ...]


def answer(findings: Findings) -> Answer:
    """What a run says."""
    comparison = compare_systems(findings)
    few = too_few(comparison.contrasts) if comparison else []
    return Answer((*warnings_of(findings), *few), tuple(_sentences(findings, comparison)))


def warnings_of(findings: Findings) -> list[str]:
    """What a reader must know before any figure: a stand-in first, then what is not whole, then what is doubtful."""
    found = []
    if findings.stand_ins:
        found.append(
            f"Stand-in router: {_and(findings.stand_ins)} ran on the router embedded in this harness, not on skrouterd "
            "or qdrouterd. Its figures show what the placement of routers does; they say nothing about how fast a real "
            "router is."
        )
    found += findings.problems
    doubted = [finding for finding in findings.located if finding.doubts]
    if doubted:
        kinds = Counter(kind for finding in doubted for kind in {doubt.kind for doubt in finding.doubts})
        first = doubted[0]
        found.append(
            f"{len(doubted)} of {len(findings.located)} latency figures are doubtful: "
            + ", ".join(f"{kind} ({number})" for kind, number in kinds.most_common())
            + f". For one, {first.system.label}, {first.pair.label}: {first.doubts[0].why}."
        )
    return found


def _sentences(findings: Findings, comparison: Comparison | None) -> list[str]:
    doses = [*release_sentences(findings), *memory_sentences(findings.memory)]
    if not findings.pairs:
        return doses or ["No operation was measured."]
    found = [
        *doses,
        *_contrasts(findings),
        *_along(findings),
        *growth_sentences(findings.growth),
        *fanout_sentences(findings.fanouts),
        *_verdicts(comparison),
        *_floors(findings),
        _delivery(findings),
        *deaf_sentences(findings),
        *recovery_sentences(findings),
    ]
    if memory := _memory(findings):
        found.append(memory)
    if findings.repetitions < 2:
        found.append(
            "This is one repetition: it gives figures and no verdict, because nothing tells how much the next run "
            "would differ. Five repetitions would."
        )
    return found


def _verdicts(comparison: Comparison | None) -> list[str]:
    """What the repetitions decide between the systems."""
    if comparison is None:
        return []
    return [*comparison.notes, *(text for contrast in comparison.contrasts for text in contrast_sentences(contrast))]


def _contrasts(findings: Findings) -> list[str]:
    """Pairs by how far the systems are apart, the farthest first; then the pair they agree on most. Of what is not
    sound only where nothing is."""
    groups: dict[tuple[object, str], list[PairFinding]] = {}
    for finding in findings.located:
        # Failed calls of no single site are the whole of no pair: how many there are is said with the delivery.
        if np.isfinite(finding.headline.p50_ms) or (finding.pair.server_site and not finding.has_median):
            groups.setdefault((finding.pair, repr(finding.system.point)), []).append(finding)
    whole = [group for group in groups.values() if len(group) > 1]
    sound = [group for group in whole if all(finding.system.sound for finding in group)]
    if not whole:
        return [_alone(finding) for finding in findings.located[:_MOST_PAIRS]]
    told = sound or whole
    failing = [group for group in told if not all(finding.has_median for finding in group)]
    ranked = sorted((group for group in told if group not in failing), key=_apart, reverse=True)
    different = [group for group in ranked if _apart(group) > _ALIKE]
    alike = [group for group in ranked if _apart(group) <= _ALIKE]
    found = [_without_median(group) for group in failing[:_MOST_PAIRS]]
    found += [_contrast(group) for group in _one_per_workload(different)[:_MOST_PAIRS]]
    if alike:
        group = alike[-1]
        medians = _and([_median(f) for f in group])
        same = "Elsewhere" if found else "For every pair of sites"
        found.append(f"{same} the systems are close: {_at(group[0])}{_who(group[0])} takes {medians}.")
    return found


def _one_per_workload(groups: Sequence[list[PairFinding]]) -> list[list[PairFinding]]:
    seen: dict[str, list[PairFinding]] = {}
    for group in groups:
        seen.setdefault(group[0].pair.workload, group)
    return list(seen.values())


def _apart(group: Sequence[PairFinding]) -> float:
    medians = [max(f.headline.p50_ms, 1e-6) for f in group]
    return max(medians) / min(medians)


def _contrast(group: Sequence[PairFinding]) -> str:
    slow, fast = max(group, key=lambda f: f.headline.p50_ms), min(group, key=lambda f: f.headline.p50_ms)
    text = (
        f"{_upper(_at(slow) + _who(slow))} takes {_median(slow)} and {_median(fast)} (medians): "
        f"{numbers.factor(_apart(group))} as long."
    )
    if np.isfinite(slow.floor_ms) and np.isfinite(fast.floor_ms) and slow.floor_ms > fast.floor_ms:
        rest = f"{numbers.ms(fast.floor_ms)} ms of the other" if fast.floor_ms else "nothing of the other"
        text += (
            f" Distance explains {numbers.ms(slow.floor_ms)} ms of the one and {rest}: "
            f"on {slow.system.name} the message goes {_way(slow)}, on {fast.system.name} {_way(fast)}."
        )
    for finding in (slow, fast):
        if any(doubt.kind == "failures" for doubt in finding.doubts):
            text += f" On {finding.system.name} {_unanswered(finding)}, and are not in that median."
    return text


def _without_median(group: Sequence[PairFinding]) -> str:
    """Where half of a system's operations were not answered: what was measured of the others says little of it."""
    who = _upper(_at(group[0]) + _who(group[0]))
    medians = [_median(finding) for finding in group if finding.has_median]
    failing = [f"on {finding.system.name}, where {_unanswered(finding)}" for finding in group if not finding.has_median]
    if medians:
        return f"{who} takes {_and(medians)} (median), and has no median {'; nor '.join(failing)}."
    return f"{who} has no median {'; nor '.join(failing)}."


def _unanswered(finding: PairFinding) -> str:
    of = f"{finding.failed + finding.in_flight} of {finding.operations}"
    return f"{of} failed or never ended" if finding.in_flight else f"{of} failed"


def _alone(finding: PairFinding) -> str:
    if not finding.has_median:
        return _without_median([finding])
    floor = f" (floor {numbers.ms(finding.floor_ms)} ms)" if np.isfinite(finding.floor_ms) else ""
    return f"{_upper(_at(finding) + _who(finding))} takes {_median(finding)}{floor}."


def _at(finding: PairFinding) -> str:
    """The point of the sweep: "at rtt 80ms ", "" without one."""
    texts = point_texts(finding.system.point)
    return f"at {', '.join(texts)} " if texts else ""


def _along(findings: Findings) -> list[str]:
    """How medians change from the first to the last point of a sweep over one axis, for one pair per workload."""
    axes = {axis for system in findings.systems for axis in system.point}
    if len(axes) != 1:
        return []
    found = []
    told: set[str] = set()
    for pair in findings.pair_order:
        own = [f for f in findings.located if f.pair == pair and f.system.point and np.isfinite(f.headline.p50_ms)]
        own = [f for f in own if f.system.sound] or own
        ends = {name: [f for f in own if f.system.name == name] for name in dict.fromkeys(f.system.name for f in own)}
        changes = [
            f"from {numbers.ms(line[0].headline.p50_ms)} to {numbers.ms(line[-1].headline.p50_ms)} ms on {name}"
            for name, line in ends.items()
            if len(line) > 1
        ]
        if changes and pair.workload not in told:
            told.add(pair.workload)
            first, last = (point_texts(line.system.point)[0] for line in (own[0], own[-1]))
            found.append(f"From {first} to {last}, the median of {_who(own[0])} goes {_and(changes)}.")
    return found


def _median(finding: PairFinding) -> str:
    return f"{numbers.ms(finding.headline.p50_ms)} ms on {finding.system.name}"


def _who(finding: PairFinding) -> str:
    pair = finding.pair
    what = _OPERATIONS.get(pair.pattern, "an operation")
    if pair.server_site == pair.client_site:
        return f"{what} from {pair.client_site} to a server at its own site ({pair.workload})"
    to = f" to {pair.server_site}" if pair.server_site else ""
    return f"{what} from {pair.client_site}{to} ({pair.workload})"


def _way(finding: PairFinding) -> str:
    return " to ".join(finding.path) if len(set(finding.path)) > 1 else f"no farther than {finding.path[0]}"


def _floors(findings: Findings) -> list[str]:
    above = [f.above_floor_ms for f in findings.located if np.isfinite(f.above_floor_ms)]
    if not above:
        return []
    span = f"between {numbers.ms(min(above))} and {numbers.ms(max(above))} ms"
    if min(above) < 0:
        return [f"Measured medians lie {span} from the floor their links allow."]
    return [f"Every measured median lies {span} above the floor its links allow; client, bus and machine add the rest."]


def _delivery(findings: Findings) -> str:
    parts = []
    clean = True
    for system in findings.systems:
        accounts = [row for cell in findings.cells if cell.system is system for row in cell.ledger.rows]
        lost, expired, unclear, doubled, failed, hanging = (
            sum(getattr(row, name) for row in accounts)
            for name in ("lost", "expired", "unaccounted", "duplicated", "failed", "unfinished")
        )
        said = [
            f"{numbers.plural(number, noun)} {verb}"
            for number, noun, verb in (
                (lost, "message", "lost"),
                (expired, "message", "expired"),
                (unclear, "message", "unaccounted for"),
                (doubled, "message", "duplicated"),
                (failed, "operation", "failed"),
                (hanging, "operation", "never finished"),
            )
            if number
        ]
        clean = clean and not said
        started = sum(row.started for row in accounts)
        kinds: Counter[str] = Counter()
        for row in accounts:
            kinds.update(row.failures)
        worst = f" (mostly {kinds.most_common(1)[0][0]})" if kinds else ""
        parts.append(
            f"{system.label}: {_and(said) or 'nothing lost, expired, duplicated or failed'}{worst} of {started:,}"
        )
    total = sum(row.started for cell in findings.cells for row in cell.ledger.rows)
    if clean:
        return f"All {total:,} operations were accepted, and every message arrived exactly once."
    return "Delivery: " + "; ".join(parts) + "."


def _memory(findings: Findings) -> str:
    parts = []
    for name in dict.fromkeys(system.name for system in findings.systems):
        cells = [cell for cell in findings.cells if cell.system.name == name]
        clients = _own(cells, "client")
        if np.isfinite(clients):
            parts.append(f"{numbers.mib(clients)} MiB on {name}{_bus(cells)}")
    if not parts:
        return ""
    owned = f"At the end a client process owned {_and(parts)}."
    if findings.memory:
        return owned
    return f"{owned} Whether a client leaks this run does not say: it gave no doses."


def _own(cells: Sequence[CellFinding], role: str) -> float:
    values = [value for cell in cells for value in _ends(cell, role)]
    return float(np.median(values)) if values else float("nan")


def _ends(cell: CellFinding, role: str) -> list[float]:
    """What each process of a role owned at the end, MiB."""
    return list(cell.resources.loc[cell.resources["role"] == role, "anonymous_mib_end"])


def _bus(cells: Sequence[CellFinding]) -> str:
    totals = [ends for cell in cells if (ends := _ends(cell, "bus"))]
    if not totals:
        return ""
    total = float(np.median([sum(ends) for ends in totals]))
    return f" (its bus {numbers.mib(total)} MiB in {numbers.plural(len(totals[0]), 'process', 'processes')})"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" and {parts[-1]}" if parts else ""


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
