"""What a probe should find on a link that does what was declared. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from harness.links.nfqueue.effects import FRAME_BYTES, jitter_source
from harness.model.links import Impairment

__all__ = ["Expectation", "expected_round_trip", "mean_loss"]

_DRAWS = 4001
_IP_AND_UDP_BYTES = 28


@dataclass(frozen=True, slots=True)
class Expectation:
    """A round trip over two directions.

    Attributes:
        p50_s: its median, seconds.
        spread_s: its standard deviation, seconds (0 without jitter).
        loss: probability that a question or its answer is lost.
        burst: mean number of consecutive losses when there are any.
    """

    p50_s: float
    spread_s: float
    loss: float
    burst: float


def mean_loss(impairment: Impairment) -> float:
    """Long-run loss probability per packet; for Gilbert-Elliott by the chain's stationary distribution."""
    if impairment.burst_loss is None:
        return impairment.loss
    chain = impairment.burst_loss
    if chain.p + chain.r == 0:
        return chain.loss_good
    bad = chain.p / (chain.p + chain.r)
    return bad * chain.loss_bad + (1 - bad) * chain.loss_good


def expected_round_trip(there: Impairment, back: Impairment, payload_bytes: int) -> Expectation:
    """What single UDP packets of that payload, far enough apart not to meet, experience there and back.

    With jitter the median is that of 4,001 draws with a fixed seed: a packet cannot leave before it came, so wide
    jitter does not average out to the delay.
    """
    fixed = 0.0
    for direction in (there, back):
        if direction.rate_bps is not None:
            fixed += (payload_bytes + _IP_AND_UDP_BYTES + FRAME_BYTES) * 8 / direction.rate_bps
    source = random.Random(20_181_119)
    draws = []
    for direction in (there, back):
        spread_ns = round(direction.jitter_s * 1e9)
        draw = jitter_source(direction.jitter_distribution, spread_ns, source)
        count = _DRAWS if spread_ns else 1
        draws.append([max(0.0, direction.delay_s + draw() * 1e-9) for _ in range(count)])
    length = max(len(values) for values in draws)
    totals = sorted(sum(values[index % len(values)] for values in draws) for index in range(length))
    mean = math.fsum(totals) / length
    spread = math.sqrt(math.fsum((total - mean) ** 2 for total in totals) / length)
    kept = (1 - mean_loss(there)) * (1 - mean_loss(back))
    bursts = [1 / d.burst_loss.r if d.burst_loss and d.burst_loss.r else 1.0 for d in (there, back)]
    return Expectation(fixed + totals[length // 2], spread, 1 - kept, max(bursts))
