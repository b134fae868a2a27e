"""What probing the links found, as frozen values that go into a result, and the judgement over it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.links.expectation import Expectation, expected_losses, expected_round_trip, mean_loss
from harness.model.links import Impairment, effective
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
#: More loss, and less, that is this unlikely under the declared one is not chance.
_UNLIKELY_MORE = 1e-6
_UNLIKELY_LESS = 1e-4
#: Losses a link is forgiven for beside the declared ones, per echo: a machine may drop one.
_FORGIVEN_LOSS = 0.001
#: What TCP over a limited link reaches of its rate, frames counted whole; less is said only of what it can fill.
_TOLERATED_RATE = 0.05
#: TCP fills a link that takes it no more bytes under way than a socket has by itself, after so many round trips.
_SOCKET_BYTES = 1_500_000
_ROUND_TRIPS_TO_FILL = 40


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
        wire_bits_per_s: as a rate limit counts, whole frames, over the latter half of the flow; None if not known.
        seconds: from the first byte to the last at the receiver.
    """

    bits_per_s: float
    connect_s: float
    congestion: str
    wire_bits_per_s: float | None = None
    seconds: float = 0.0


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
        allowed_s: how much longer the measured may be, seconds.
        declared_loss: share of echoes that should be lost there or back.
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
    declared_loss: float = 0.0


def spread(times_s: Sequence[float]) -> Spread | None:
    """Least, median and 99th percentile (nearest rank), None of nothing."""
    if not times_s:
        return None
    ordered = sorted(times_s)
    return Spread(ordered[0], ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))])


def judge(measurement: LinkMeasurement, links: Sequence[LinkPlan]) -> tuple[LinkVerdict, ...]:
    """Compare what was probed with what is declared: one verdict per probed direction.

    A link is off when no echo came back though not all were to be lost, when |p50 - declared| > max(5 %, 1 ms) (plus
    three standard errors of the median where there is jitter), or when more echoes were lost than the declared loss can
    explain (one in a million), or fewer (one in ten thousand). The time a lone packet takes at the declared rate may
    be there or not. Where a flow ran over a link with a rate, it is off by more than 5 % of that; a flow that is slower
    tells nothing where something else than the rate may have held it back (loss, jitter, a short queue, a long way).
    """
    declared = {(link.source, link.target): link.impairment for link in links}
    verdicts = []
    for probe in measurement.probes:
        there, back = declared[probe.source, probe.target], declared[probe.target, probe.source]
        verdicts.append(_verdict(probe, there, back))
    return tuple(verdicts)


def _verdict(probe: PairProbe, there: Impairment, back: Impairment) -> LinkVerdict:
    expected = expected_round_trip(there, back, PROBE_BYTES)
    errors = 0.0
    if answered := probe.sent - probe.lost:
        errors = _STANDARD_ERRORS * 1.2533 * expected.spread_s / math.sqrt(answered)
    least_s = expected.p50_s - expected.serialisation_s
    allowed = max(_TOLERATED_SHARE * expected.p50_s, _TOLERATED_S) + errors
    allowed_less = max(_TOLERATED_SHARE * least_s, _TOLERATED_S) + errors
    measured = probe.rtt.p50_s if probe.rtt else None
    faults = [fault for fault in (_loss_fault(probe, expected, there, back), _rate_fault(probe, there, back)) if fault]
    late = measured is not None and measured - expected.p50_s > allowed
    slow = late and not faults
    if measured is not None and (late or least_s - measured > allowed_less):
        faults.insert(
            0,
            f"p50 of the round trip is {measured * 1e3:.2f} ms, declared {expected.p50_s * 1e3:.2f} ms "
            f"(allowed +-{allowed * 1e3:.2f} ms)",
        )
    return LinkVerdict(
        link=probe.link,
        source=probe.source,
        target=probe.target,
        declared_s=expected.p50_s,
        measured_s=measured,
        allowed_s=allowed,
        off=bool(faults),
        why="; ".join(faults),
        slow=slow,
        declared_loss=expected.loss,
    )


def _loss_fault(probe: PairProbe, expected: Expectation, there: Impairment, back: Impairment) -> str:
    if probe.lost == probe.sent:
        return f"none of {probe.sent} echoes came back" if expected.loss < 1 else ""
    # A packet with a flipped bit fails its checksum, mostly; a packet sent twice is lost only if both are.
    extra = 1 - (1 - _FORGIVEN_LOSS) * (1 - there.corrupt) * (1 - back.corrupt)
    more = math.fsum(expected_losses(there, back, probe.sent, extra)[probe.lost :])
    less = 1.0
    if expected.loss and not (there.duplicate or back.duplicate):
        less = math.fsum(expected_losses(there, back, probe.sent)[: probe.lost + 1])
    if more >= _UNLIKELY_MORE and less >= _UNLIKELY_LESS:
        return ""
    few = "only " if less < _UNLIKELY_LESS else ""
    return f"{few}{probe.lost} of {probe.sent} echoes were lost, declared {expected.loss:.2%} for the round trip"


def _rate_fault(probe: PairProbe, there: Impairment, back: Impairment) -> str:
    flow, rate_bps = probe.throughput, there.rate_bps
    if flow is None or flow.wire_bits_per_s is None or rate_bps is None:
        return ""
    share = flow.wire_bits_per_s / rate_bps
    if share > 1 + _TOLERATED_RATE or (share < 1 - _TOLERATED_RATE and _can_fill(flow, there, back)):
        return f"a flow takes {flow.wire_bits_per_s / 1e6:.3g} Mbit/s, {share:.0%} of the declared {rate_bps / 1e6:g}"
    return ""


def _can_fill(flow: Throughput, there: Impairment, back: Impairment) -> bool:
    """Whether nothing but the rate keeps a TCP flow from being faster."""
    for direction in (there, back):
        if mean_loss(direction) or direction.corrupt or direction.jitter_s or direction.duplicate:
            return False
    rate_bps, queue_bytes = there.rate_bps or 0.0, effective(there).queue_bytes or 0
    round_trip_s = there.delay_s + back.delay_s
    under_way = rate_bps / 8 * round_trip_s
    acknowledged = back.rate_bps is None or back.rate_bps * 10 >= rate_bps
    filled = flow.seconds >= max(1.0, _ROUND_TRIPS_TO_FILL * round_trip_s)
    return filled and acknowledged and under_way <= min(queue_bytes, _SOCKET_BYTES)


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
