"""What a link does to packets, as frozen values. How a file says it: `harness.model.link_spec`.

`Impairment` is the one description every link backend takes: it speaks of ONE direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "GilbertElliott",
    "Impairment",
    "JitterDistribution",
    "effective",
    "severed",
]

JitterDistribution = Literal["normal", "pareto", "uniform"]


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Bursty loss: a two-state Markov chain stepped once per packet (Gilbert 1960, Elliott 1963).

    Attributes:
        p: probability of going from the good to the bad state, per packet.
        r: probability of going back from bad to good, per packet (mean burst length in packets = 1 / r).
        loss_bad: probability that a packet is lost in the bad state (1 - h).
        loss_good: probability that a packet is lost in the good state (1 - k).
    """

    p: float
    r: float
    loss_bad: float = 1.0
    loss_good: float = 0.0


@dataclass(frozen=True, slots=True)
class Impairment:
    """What one direction of a link does to each packet.

    Attributes:
        delay_s: one-way delay, seconds.
        jitter_s: spread of the delay, seconds (normal: standard deviation; pareto: scale; uniform: half the width).
        jitter_distribution: shape of the jitter.
        reorder: whether jitter may overtake; False keeps packets in order.
        loss: independent loss probability per packet, 0..1.
        burst_loss: bursty loss instead of `loss`.
        duplicate: duplication probability per packet, 0..1.
        corrupt: probability that one bit of a packet is flipped, 0..1 (backends that cannot refuse it).
        rate_bps: rate limit in bits per second, or None for none.
        queue_bytes: bytes that may wait for the rate limit before tail drop, or None for the backend's default.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    jitter_distribution: JitterDistribution = "normal"
    reorder: bool = False
    loss: float = 0.0
    burst_loss: GilbertElliott | None = None
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate_bps: float | None = None
    queue_bytes: int | None = None


#: A rate without a declared queue gets one that holds this long at that rate, but never less than these bytes.
_QUEUE_S = 0.1
_LEAST_QUEUE_BYTES = 64 * 1024


def effective(impairment: Impairment) -> Impairment:
    """The impairment with everything spelt out that every backend needs: a rate has its queue, no rate has none."""
    if impairment.rate_bps is None:
        return impairment if impairment.queue_bytes is None else replace(impairment, queue_bytes=None)
    if impairment.queue_bytes is not None:
        return impairment
    return replace(impairment, queue_bytes=max(_LEAST_QUEUE_BYTES, round(impairment.rate_bps / 8 * _QUEUE_S)))


def severed(impairment: Impairment) -> Impairment:
    """What a direction does while it is cut: lose everything."""
    return replace(impairment, loss=1.0, burst_loss=None)
