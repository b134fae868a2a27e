"""From a scenario's timeline to timed changes of single link directions. Pure.

At any instant a direction's impairment is what the topology declares, then every event without an end that has
begun, then every event with an end that is under way, each in the order they began, laid over one another. A
direction is cut while at least one partition is under way. Where that changes, there is a `LinkChange`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.model.faults import Fault, unknown_name
from harness.model.link_spec import LinkTraits
from harness.model.links import Impairment, severed
from harness.model.quantities import format_duration
from harness.model.timeline import ALL_LINKS, LinkEvent, TimelineEvent
from harness.plan.cell import LinkChange, LinkPlan

__all__ = ["after_all", "expand", "late_faults", "timeline_faults"]

_STEP_S = 0.5
_MAX_STEPS = 1000
#: Changes of single directions in one timeline: a controller carries out a few thousand a second at best.
_MAX_CHANGES = 100_000
_NUMBERS = ("delay_s", "jitter_s", "loss", "duplicate", "corrupt")
#: Load times closer than this are one instant.
_INSTANT_S = 1e-9

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Occurrence:
    """One time an event happens: from begin_s until end_s (None: for good), on these directions."""

    event: int
    begin_s: float
    end_s: float | None
    pairs: tuple[Pair, ...]
    traits: LinkTraits | None
    ramp_s: float
    steps: int
    label: str

    def instants(self) -> Iterator[float]:
        """When something changes because of it."""
        if self.ramp_s:
            yield from (self.begin_s + self.ramp_s * step / self.steps for step in range(1, self.steps + 1))
        else:
            yield self.begin_s
        if self.end_s is not None:
            yield self.end_s

    def over(self, base: Impairment, at_s: float) -> Impairment:
        """The impairment it makes of another at that load time."""
        if self.traits is None:
            return base
        target = self.traits.over(base)
        done = 1.0 if not self.ramp_s else min(1.0, (at_s - self.begin_s + _INSTANT_S) / self.ramp_s)
        return _between(base, target, int(done * self.steps + 1e-6) / self.steps)


def _between(base: Impairment, target: Impairment, share: float) -> Impairment:
    """That share of the way from one impairment to another; what is not a number is the target's from the start."""
    if share >= 1:
        return target
    steps: dict[str, Any] = {
        name: _short(getattr(base, name) + (getattr(target, name) - getattr(base, name)) * share)
        for name in _NUMBERS
        if getattr(base, name) != getattr(target, name)
    }
    mixed = replace(target, **steps)
    if base.rate_bps is not None and target.rate_bps is not None:
        mixed = replace(mixed, rate_bps=_short(base.rate_bps + (target.rate_bps - base.rate_bps) * share))
    return mixed


def _short(value: float) -> float:
    """Six significant digits: what every mechanism can keep, and a person can read."""
    return float(f"{value:.6g}")


def timeline_faults(
    events: Sequence[TimelineEvent], links: Sequence[LinkPlan], sites: Sequence[str], load_s: float
) -> list[Fault]:
    """What is wrong with a timeline's link events, located below it: unknown names, events after or beyond the load's
    end, too many changes, and values without effect on what holds when they are set."""
    faults = []
    names = list(dict.fromkeys(link.name for link in links))
    for index, event in _link_events(events):
        if event.link is not None and event.link not in (*names, ALL_LINKS):
            faults.append(unknown_name((index, "link"), "link", event.link, names))
            continue
        if event.site is not None and event.site not in sites:
            faults.append(unknown_name((index, "site"), "site", event.site, list(sites)))
            continue
        pairs = _pairs(event, links)
        if not pairs:
            faults.append(_no_direction(index, event, links))
        faults += _half_round_trips(index, event, pairs)
        together_s = event.ramp_end_s if event.duration_s is None else event.duration_s
        in_turn_s = (len(list(_turns(event, pairs, links))) - 1) * (event.apart or 0.0)
        faults += late_faults(index, event, in_turn_s + together_s, load_s)
    return faults or _too_many(events, links, load_s) or _without_effect(events, links, load_s)


def _half_round_trips(index: int, event: LinkEvent, pairs: tuple[Pair, ...]) -> list[Fault]:
    """Round trips said of directions whose way back is another link."""
    action, traits = _values(event)
    alone = [(source, target) for source, target in pairs if (target, source) not in pairs]
    if traits.rtt is None or event.source is not None or not alone:
        return []
    source, target = alone[0]
    what = f"{source} -> {target} is one direction alone, which has no round trip"
    return [Fault((index, action, "rtt"), what, f"delay: {format_duration(traits.rtt / 2)}")]


def _values(event: LinkEvent) -> tuple[str, LinkTraits]:
    """What an event sets, and by which key."""
    return ("ramp", event.ramp) if event.ramp is not None else ("set", event.set or LinkTraits())


def _too_many(events: Sequence[TimelineEvent], links: Sequence[LinkPlan], load_s: float) -> list[Fault]:
    """The event that changes links most often, if all together do it too often."""
    counts: dict[int, int] = {}
    for index, event in _link_events(events):
        times = 1
        if event.every is not None:
            times = event.times if event.times is not None else math.ceil((load_s - event.at) / event.every)
        if event.flap is not None:
            changes = 2 * event.flap.times
        else:
            changes = (_steps(event) if event.over else 1) + (event.lasts is not None)
        counts[index] = times * changes * len(_pairs(event, links))
    total = sum(counts.values())
    if total <= _MAX_CHANGES:
        return []
    most = max(counts, key=lambda index: counts[index])
    what = f"the timeline changes links {total:,} times, {counts[most]:,} of them by this event"
    return [Fault((most,), what, f"at most {_MAX_CHANGES:,} changes of single directions")]


def _without_effect(events: Sequence[TimelineEvent], links: Sequence[LinkPlan], load_s: float) -> list[Fault]:
    """Values that change nothing on any direction when they are set, and ramps of a rate that begin at none."""
    checked = [
        (index, event)
        for index, event in _link_events(events)
        if (traits := _values(event)[1]).queue is not None
        or traits.reorder
        or traits.distribution is not None
        or (event.ramp is not None and traits.rate is not None)
    ]
    if not checked:
        return []
    # Key of a value that may be without effect: what it lacks, as long as no direction has shown otherwise.
    idle: dict[tuple[int, str], bool] = {}
    unlimited: set[int] = set()
    numbers = {index for index, _ in checked}
    for link, occurrences in _by_link(events, links, load_s):
        sweep = _Sweep(link.impairment, occurrences)
        for occurrence in occurrences:
            if occurrence.event not in numbers or occurrence.traits is None:
                continue
            sweep.advance(occurrence.begin_s)
            before = sweep.impairment(occurrence.begin_s, without=occurrence)
            traits, after = occurrence.traits, occurrence.traits.over(before)
            for key, said, lacks in (
                ("queue", traits.queue is not None, after.rate_bps is None),
                ("reorder", bool(traits.reorder), not after.jitter_s),
                ("distribution", traits.distribution is not None, not after.jitter_s),
            ):
                if said:
                    idle[occurrence.event, key] = idle.get((occurrence.event, key), True) and lacks
            if occurrence.ramp_s and traits.rate is not None and before.rate_bps is None:
                unlimited.add(occurrence.event)
    faults = []
    for index, event in checked:
        action, _ = _values(event)
        faults += [Fault((index, action, key), *_LACKING[key]) for key in _LACKING if idle.get((index, key))]
        if index in unlimited:
            what = "a rate is not reached step by step from none"
            faults.append(Fault((index, action, "rate"), what, "set: {rate: ...} first, or a link with a rate"))
    return faults


_LACKING = {
    "queue": ("a queue needs a rate to wait for, and none is in force then", "rate: 100mbit beside queue"),
    "reorder": ("without jitter nothing is reordered, and none is in force then", "jitter: 5ms beside reorder: true"),
    "distribution": ("it is the shape of the jitter, and none is in force then", "jitter: 5ms beside distribution"),
}


def late_faults(index: int, event: TimelineEvent, duration_s: float, load_s: float) -> list[Fault]:
    """What is wrong with an event's time, one occurrence of which takes so long: it begins or ends after the load."""
    if event.at >= load_s:
        what = f"it happens at {format_duration(event.at)}, when the load is over"
        return [Fault((index, "at"), what, f"before {format_duration(load_s)}")]
    repeats = 1 if event.times is None else event.times
    end_s = event.at + (repeats - 1) * (event.every or 0.0) + duration_s
    if end_s > load_s + _INSTANT_S:
        what = f"it lasts until {format_duration(end_s)}, when the load is over"
        return [Fault((index,), what, f"an end before {format_duration(load_s)}, or none")]
    return []


def _link_events(events: Sequence[TimelineEvent]) -> Iterator[tuple[int, LinkEvent]]:
    return ((index, event) for index, event in enumerate(events) if isinstance(event, LinkEvent))


def _no_direction(index: int, event: LinkEvent, links: Sequence[LinkPlan]) -> Fault:
    if event.source is None:
        where, meant = ("link", "anywhere") if event.site is None else ("site", f"to or from {event.site!r}")
        return Fault((index, where), f"no link leads {meant}", "a site with links")
    known = list(dict.fromkeys(link.source for link in links if _meant(event, link)))
    return unknown_name((index, "from"), "direction of this link from", event.source, known)


def _meant(event: LinkEvent, link: LinkPlan) -> bool:
    if event.link is not None:
        return event.link in (link.name, ALL_LINKS)
    return event.site in (link.source, link.target)


def _pairs(event: LinkEvent, links: Sequence[LinkPlan]) -> tuple[Pair, ...]:
    return tuple(
        (link.source, link.target)
        for link in links
        if _meant(event, link) and (event.source is None or event.source == link.source)
    )


def _turns(
    event: LinkEvent, pairs: tuple[Pair, ...], links: Sequence[LinkPlan]
) -> Iterator[tuple[str, tuple[Pair, ...]]]:
    """Whom it happens to together, by what to call them: all at once, or link after link."""
    if event.apart is None:
        where = (
            f"site {event.site}" if event.site is not None else "all links" if event.link == ALL_LINKS else event.link
        )
        yield str(where), pairs
        return
    for name in dict.fromkeys(link.name for link in links):
        own = tuple(pair for link in links if link.name == name and (pair := (link.source, link.target)) in pairs)
        if own:
            yield name, own


def expand(events: Sequence[TimelineEvent], links: Sequence[LinkPlan], load_s: float) -> tuple[LinkChange, ...]:
    """Every change of every direction, in order of time.

    Args:
        events: a timeline without faults.
        links: the directed links as declared.
        load_s: how long the load lasts; repetitions without `times` that would not end before it are left out.
    """
    changes: list[LinkChange] = []
    for link, occurrences in _by_link(events, links, load_s):
        changes += _changes_of(link, occurrences)
    return tuple(sorted(changes, key=lambda change: change.at_s))


def _by_link(
    events: Sequence[TimelineEvent], links: Sequence[LinkPlan], load_s: float
) -> Iterator[tuple[LinkPlan, list[_Occurrence]]]:
    """What happens to each direction, in the order it begins."""
    by_pair: dict[Pair, list[_Occurrence]] = {(link.source, link.target): [] for link in links}
    for index, event in _link_events(events):
        for occurrence in _occurrences(index, event, links, load_s):
            for pair in occurrence.pairs:
                by_pair[pair].append(occurrence)
    for link in links:
        yield link, sorted(by_pair[link.source, link.target], key=lambda occurrence: occurrence.begin_s)


class _Sweep:
    """What holds on one direction at instants asked for in order of time.

    Args:
        declared: its impairment without any event.
        occurrences: what happens to it, in the order they begin.
    """

    def __init__(self, declared: Impairment, occurrences: Sequence[_Occurrence]) -> None:
        self._settled, self._settled_cut = declared, False
        self._coming = deque(occurrences)
        self._lasting: deque[_Occurrence] = deque()
        self._passing: dict[int, _Occurrence] = {}
        self._ends: list[tuple[float, int]] = []
        self._number = 0

    def advance(self, at_s: float) -> None:
        """Go to a load time, never back."""
        while self._lasting and self._lasting[0].begin_s + self._lasting[0].ramp_s < at_s - _INSTANT_S:
            settled = self._lasting.popleft()
            self._settled = settled.over(self._settled, at_s)
            self._settled_cut = self._settled_cut or settled.traits is None
        while self._coming and self._coming[0].begin_s <= at_s + _INSTANT_S:
            begun = self._coming.popleft()
            if begun.end_s is None:
                self._lasting.append(begun)
            else:
                self._number += 1
                self._passing[self._number] = begun
                heapq.heappush(self._ends, (begun.end_s, self._number))
        while self._ends and self._ends[0][0] <= at_s + _INSTANT_S:
            del self._passing[heapq.heappop(self._ends)[1]]

    def impairment(self, at_s: float, without: _Occurrence | None = None) -> Impairment:
        """What holds at the instant it was advanced to, or would hold without one occurrence."""
        now = self._settled
        for occurrence in (*self._lasting, *self._passing.values()):
            if occurrence is not without:
                now = occurrence.over(now, at_s)
        return now

    @property
    def cut(self) -> bool:
        """Whether a partition is under way."""
        return self._settled_cut or any(one.traits is None for one in (*self._lasting, *self._passing.values()))


def _changes_of(link: LinkPlan, occurrences: Sequence[_Occurrence]) -> Iterator[LinkChange]:
    causes: dict[float, tuple[_Occurrence, bool]] = {}
    for ends in (True, False):
        for occurrence in occurrences:
            for at_s in occurrence.instants():
                if (at_s == occurrence.end_s) is ends:
                    causes[round(at_s, 9)] = (occurrence, ends)
    in_force, cut = link.impairment, False
    sweep = _Sweep(link.impairment, occurrences)
    for at_s in sorted(causes):
        cause, ends = causes[at_s]
        label = f"{cause.label} ends" if ends else cause.label
        sweep.advance(at_s)
        now, now_cut = sweep.impairment(at_s), sweep.cut
        if now != in_force:
            yield LinkChange(at_s, link.name, link.source, link.target, "change", now, cause.event, label)
        if now_cut != cut:
            action: Literal["cut", "heal"] = "cut" if now_cut else "heal"
            yield LinkChange(at_s, link.name, link.source, link.target, action, None, cause.event, label)
        in_force, cut = now, now_cut


def _occurrences(index: int, event: LinkEvent, links: Sequence[LinkPlan], load_s: float) -> Iterator[_Occurrence]:
    pairs = _pairs(event, links)
    number = 0
    while True:
        start_s = event.at + number * (event.every or 0.0)
        for turn, (where, own) in enumerate(_turns(event, pairs, links)):
            begin_s = start_s + turn * (event.apart or 0.0)
            end_s = None if event.duration_s is None else begin_s + event.duration_s
            if number and event.times is None and (begin_s >= load_s or (end_s or begin_s) > load_s + _INSTANT_S):
                return
            label = f"{where} from {event.source}" if event.source else where
            yield from _occurrence(index, event, begin_s, end_s, own, label)
        number += 1
        if event.every is None or (event.times is not None and number >= event.times):
            return


def _steps(event: LinkEvent) -> int:
    return event.steps or max(1, min(_MAX_STEPS, round((event.over or 0.0) / _STEP_S)))


def _occurrence(
    index: int, event: LinkEvent, begin_s: float, end_s: float | None, pairs: tuple[Pair, ...], label: str
) -> Iterator[_Occurrence]:
    if event.flap is not None:
        for turn in range(event.flap.times):
            down_s = begin_s + turn * (event.flap.down + event.flap.up)
            yield _Occurrence(index, down_s, down_s + event.flap.down, pairs, None, 0.0, 1, f"{label}: flap")
    elif event.partition:
        yield _Occurrence(index, begin_s, end_s, pairs, None, 0.0, 1, f"{label}: partition")
    else:
        traits = event.set or event.ramp or LinkTraits()
        ramp_s, steps = event.over or 0.0, _steps(event)
        said = ", ".join(f"{name} {value}" for name, value in traits.said().items())
        text = f"{label}: ramp to {said} over {format_duration(ramp_s)}" if ramp_s else f"{label}: {said}"
        yield _Occurrence(index, begin_s, end_s, pairs, traits, ramp_s, steps if ramp_s else 1, text)


def after_all(links: Sequence[LinkPlan], changes: Sequence[LinkChange]) -> tuple[LinkPlan, ...]:
    """The links as they are when all changes have been carried out; a direction that stays cut loses everything."""
    impairments: dict[Pair, Impairment] = {(link.source, link.target): link.impairment for link in links}
    cut: Mapping[Pair, bool] = {}
    for change in changes:
        pair = (change.source, change.target)
        if change.impairment is not None:
            impairments[pair] = change.impairment
        else:
            cut = {**cut, pair: change.action == "cut"}
    return tuple(
        replace(
            link,
            impairment=severed(impairments[link.source, link.target])
            if cut.get((link.source, link.target))
            else impairments[link.source, link.target],
        )
        for link in links
    )
