"""What probing the links found, as frozen values that go into a result, and the judgement over it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.links.expectation import Expectation, expected_round_trip
from harness.model.links import Impairment
from harness.plan.cell import LinkPlan

__all__ = [
    "PROBE_BYTES",
    "LinkMeasurement",
    "LinkVerdict",
    "PairProbe",
    "Spread",
    "Throughput",
    "judge",
    "measurement_from_json",
    "spread",
]

#: UDP payload of one probe, bytes.
PROBE_BYTES = 64
#: A link is off when its p50 misses the declared by more than this share of it, or this many seconds, if that is more.
_TOLERATED_SHARE = 0.05
_TOLERATED_S = 0.001
#: Standard errors of a sampled median that jitter may add to the tolerance.
_STANDARD_ERRORS = 3.0
#: A loss this unlikely under the declared one is not chance.
_UNLIKELY = 1e-6
#: Losses a link without declared loss is forgiven for, per packet: a machine may drop one.
_FORGIVEN_LOSS = 0.001


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, median and 99th percentile of some times, seconds."""

    min_s: float
    p50_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """One TCP flow over a link.

    Attributes:
        bits_per_s: goodput seen by the receiver.
        connect_s: how long opening the connection took, seconds.
        congestion: TCP congestion control used.
    """

    bits_per_s: float
    connect_s: float
    congestion: str


@dataclass(frozen=True, slots=True)
class PairProbe:
    """One direction of a link, as probed.

    Attributes:
        link: the link's name.
        source, target: the direction.
        declared_s: median round trip the declared links should give, seconds.
        sent, lost: echoes; a lost question and a lost answer look the same.
        duplicates, out_of_order: echoes that came twice, or behind a later one.
        rtt: round trip, None if no echo came back; the same for both directions of a pair.
        one_way: this direction alone, None where the two ends do not share a clock.
        throughput: where it was asked for.
    """

    link: str
    source: str
    target: str
    declared_s: float
    sent: int
    lost: int
    duplicates: int
    out_of_order: int
    rtt: Spread | None
    one_way: Spread | None
    throughput: Throughput | None = None


@dataclass(frozen=True, slots=True)
class LinkMeasurement:
    """All links of a lab, probed once.

    Attributes:
        probes: one per probed direction.
        not_probed: (source, target, why) of every direction that could not be.
        congestion_control: TCP congestion control in force, by node that probed.
        began_s, ended_s: CLOCK_MONOTONIC of the controller.
    """

    probes: tuple[PairProbe, ...]
    not_probed: tuple[tuple[str, str, str], ...]
    congestion_control: Mapping[str, str]
    began_s: float
    ended_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `measurement_from_json` reads it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LinkVerdict:
    """Whether one direction is what was declared.

    Attributes:
        link, source, target: which.
        declared_s, measured_s: median round trips, seconds; measured is None if no echo came back.
        allowed_s: how far they may be apart, seconds.
        off: True if it is not what was declared.
        why: what is wrong, "" if nothing is.
        slow: whether nothing is wrong but that echoes took longer than declared, as they do on a busy machine.
    """

    link: str
    source: str
    target: str
    declared_s: float
    measured_s: float | None
    allowed_s: float
    off: bool
    why: str
    slow: bool = False


def spread(times_s: Sequence[float]) -> Spread | None:
    """Least, median and 99th percentile (nearest rank), None of nothing."""
    if not times_s:
        return None
    ordered = sorted(times_s)
    return Spread(ordered[0], ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))])


def judge(measurement: LinkMeasurement, links: Sequence[LinkPlan]) -> tuple[LinkVerdict, ...]:
    """Compare what was probed with what is declared: one verdict per probed direction.

    A link is off when no echo came back, when |p50 - declared| > max(5 %, 1 ms) (plus three standard errors of the
    median where there is jitter), or when more echoes were lost than the declared loss can explain (binomial,
    one in a million).
    """
    declared = {(link.source, link.target): link.impairment for link in links}
    verdicts = []
    for probe in measurement.probes:
        there, back = declared[probe.source, probe.target], declared[probe.target, probe.source]
        verdicts.append(_verdict(probe, there, back))
    return tuple(verdicts)


def _verdict(probe: PairProbe, there: Impairment, back: Impairment) -> LinkVerdict:
    expected = expected_round_trip(there, back, PROBE_BYTES)
    answered = probe.sent - probe.lost
    allowed = max(_TOLERATED_SHARE * expected.p50_s, _TOLERATED_S)
    if answered:
        allowed += _STANDARD_ERRORS * 1.2533 * expected.spread_s / math.sqrt(answered)
    measured = probe.rtt.p50_s if probe.rtt else None
    why = _loss_fault(probe, expected)
    slow = not why and measured is not None and measured - expected.p50_s > allowed
    if measured is not None and abs(measured - expected.p50_s) > allowed:
        why = (
            f"p50 of the round trip is {measured * 1e3:.2f} ms, declared {expected.p50_s * 1e3:.2f} ms "
            f"(allowed +-{allowed * 1e3:.2f} ms)"
        )
    return LinkVerdict(probe.link, probe.source, probe.target, expected.p50_s, measured, allowed, bool(why), why, slow)


def _loss_fault(probe: PairProbe, expected: Expectation) -> str:
    if not probe.lost:
        return ""
    chance = max(expected.loss, _FORGIVEN_LOSS)
    # Losses that come in bursts are fewer independent events than packets.
    trials = max(1, round(probe.sent / expected.burst))
    losses = min(trials, math.ceil(probe.lost / expected.burst))
    if _at_least(losses, trials, chance) >= _UNLIKELY:
        return ""
    if probe.lost == probe.sent:
        return f"none of {probe.sent} echoes came back"
    return f"{probe.lost} of {probe.sent} echoes were lost, declared {expected.loss:.2%} for the round trip"


def _at_least(successes: int, trials: int, chance: float) -> float:
    """Binomial P(X >= successes)."""
    if chance >= 1:
        return 1.0
    below = math.fsum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(successes))
    return max(0.0, 1.0 - below)


def measurement_from_json(value: Mapping[str, Any]) -> LinkMeasurement:
    """The inverse of `LinkMeasurement.to_json`."""
    return LinkMeasurement(
        probes=tuple(
            PairProbe(
                **{
                    **probe,
                    "rtt": Spread(**probe["rtt"]) if probe["rtt"] else None,
                    "one_way": Spread(**probe["one_way"]) if probe["one_way"] else None,
                    "throughput": Throughput(**probe["throughput"]) if probe["throughput"] else None,
                }
            )
            for probe in value["probes"]
        ),
        not_probed=tuple((source, target, why) for source, target, why in value["not_probed"]),
        congestion_control=dict(value["congestion_control"]),
        began_s=value["began_s"],
        ended_s=value["ended_s"],
    )
