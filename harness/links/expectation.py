"""What a probe should find on a link that does what was declared. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from harness.links.nfqueue.effects import FRAME_BYTES, jitter_source
from harness.model.links import Impairment

__all__ = ["Expectation", "expected_losses", "expected_round_trip", "lone_spacing_s", "mean_loss"]

_DRAWS = 4001
_IP_AND_UDP_BYTES = 28
#: The least time between two echoes, seconds, and the spreads of jitter that practically never make up for it.
_SPACING_S = 0.06
_SPACING_SPREADS = 6.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """A round trip over two directions.

    Attributes:
        p50_s: its median, seconds.
        serialisation_s: how much of it is the time packets take at the rates; a shaper that lets short bursts pass at
            once does not add it to a lone packet.
        spread_s: its standard deviation, seconds (0 without jitter).
        loss: probability that a question or its answer is lost.
    """

    p50_s: float
    serialisation_s: float
    spread_s: float
    loss: float


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
    return Expectation(fixed + totals[length // 2], fixed, spread, 1 - kept)


def lone_spacing_s(there: Impairment, back: Impairment) -> float:
    """How far apart echoes are to be sent so that, kept in order, practically none waits for the one before it."""
    return max([_SPACING_S, *(_SPACING_SPREADS * way.jitter_s for way in (there, back) if not way.reorder)])


@lru_cache(maxsize=512)
def expected_losses(there: Impairment, back: Impairment, sent: int, extra: float = 0.0) -> tuple[float, ...]:
    """How likely it is that 0, 1, ... sent of that many echoes are lost: exact, for losses in bursts as for others.

    Args:
        there, back: what questions and answers go through; only answers to questions that came are sent.
        sent: echoes.
        extra: probability that an echo is lost for another reason.
    """
    forth, home = _chain(there), _chain(back)
    kept, lost = np.zeros((4, 4)), np.zeros((4, 4))
    for (a, p_a), (b, p_b) in product(enumerate(forth.stays), enumerate(home.stays)):
        state = 2 * a + b
        arrives, returns = (1 - forth.loss[a]) * (1 - extra), 1 - home.loss[b]
        for to_a in (0, 1):
            first = p_a if to_a == a else 1 - p_a
            lost[state, 2 * to_a + b] += (1 - arrives) * first
            for to_b in (0, 1):
                both = first * (p_b if to_b == b else 1 - p_b)
                kept[state, 2 * to_a + to_b] += arrives * returns * both
                lost[state, 2 * to_a + to_b] += arrives * (1 - returns) * both
    by_count = np.zeros((sent + 1, 4))
    by_count[0] = np.outer(forth.begins, home.begins).ravel()
    for _ in range(sent):
        with_loss = by_count[:-1] @ lost
        by_count = by_count @ kept
        by_count[1:] += with_loss
    return tuple(float(value) for value in by_count.sum(axis=1))


@dataclass(frozen=True, slots=True)
class _Chain:
    """One direction's loss as two states, good and bad: how a flight begins, stays in each, and loses in each."""

    begins: tuple[float, float]
    stays: tuple[float, float]
    loss: tuple[float, float]


def _chain(impairment: Impairment) -> _Chain:
    chain = impairment.burst_loss
    if chain is None:
        return _Chain((1.0, 0.0), (1.0, 1.0), (impairment.loss, impairment.loss))
    bad = chain.p / (chain.p + chain.r) if chain.p else 0.0
    return _Chain((1 - bad, bad), (1 - chain.p, 1 - chain.r), (chain.loss_good, chain.loss_bad))
