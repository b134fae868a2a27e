"""What an impairment does to one packet, decided without touching any packet: pure logic over a random source.

All times are integer nanoseconds. The description is the JSON form of `harness.model.links.Impairment`.
"""

from __future__ import annotations

import random
from typing import Any, Callable, Mapping

__all__ = ["LOST", "OVERFLOWED", "Effect", "burst_chain", "jitter_source"]

#: Verdicts of `Effect.due` other than an instant.
LOST = -1
OVERFLOWED = -2

#: What a wire adds to an IP packet and a rate limit counts: the Ethernet header, as `tc` counts it.
FRAME_BYTES = 14

#: Pareto jitter has shape 3, is centred on its mean (1.5) and scaled by 4/3, cut at 4 scales: the shape of the
#: "pareto" table that comes with tc-netem.
_PARETO_SHAPE, _PARETO_MEAN, _PARETO_SCALE, _PARETO_CUT = 3.0, 1.5, 4.0 / 3.0, 4.0

#: How far below the delay jitter reaches, in spreads; normal jitter practically never beyond.
_JITTER_REACH = {"normal": 6.0, "uniform": 1.0, "pareto": 2 / 3}


def jitter_source(distribution: str, spread_ns: int, source: random.Random) -> Callable[[], float]:
    """Draws one packet's deviation from the link's delay, nanoseconds.

    Args:
        distribution: "normal" (spread is the standard deviation), "uniform" (half the width), "pareto" (scale).
        spread_ns: the spread.
        source: where randomness comes from.

    Raises:
        ValueError: the distribution is not known.
    """
    uniform = source.random
    if distribution == "normal":
        gauss = source.gauss
        return lambda: gauss(0.0, spread_ns)
    if distribution == "uniform":
        return lambda: (2.0 * uniform() - 1.0) * spread_ns
    if distribution == "pareto":

        def pareto() -> float:
            value: float = ((1.0 - uniform()) ** (-1.0 / _PARETO_SHAPE) - _PARETO_MEAN) * _PARETO_SCALE
            return min(value, _PARETO_CUT) * spread_ns

        return pareto
    raise ValueError(f"unknown jitter distribution: {distribution}")


def burst_chain(p: float, r: float, loss_bad: float, loss_good: float, source: random.Random) -> Callable[[], bool]:
    """The Gilbert-Elliott chain: each call steps it by one packet and says whether that packet is lost.

    A packet's fate is decided by the state it finds, then the state may change, as tc-netem's `gemodel` does it.
    The chain starts in the state its stationary distribution gives.
    """
    uniform = source.random
    bad = p > 0.0 and uniform() < p / (p + r)

    def lost() -> bool:
        nonlocal bad
        if bad:
            fate = uniform() < loss_bad
            if uniform() < r:
                bad = False
        else:
            fate = loss_good > 0.0 and uniform() < loss_good
            if uniform() < p:
                bad = True
        return fate

    return lost


class Effect:
    """One direction's impairment, ready to be applied packet by packet.

    Attributes:
        description: the JSON form it was made from.
        delay_ns: constant part of the delay.
        plain: True if nothing but the constant delay happens, so that packets need not be looked at one by one.
        reorder: whether a packet may overtake another.
        whole_super_packets: whether offloaded super-packets may pass unsplit.
        copy_bytes: how much of each packet must be seen.
        changes_contents: whether a packet may be corrupted or duplicated.
    """

    __slots__ = (
        "_burst",
        "_draw",
        "_free_at_ns",
        "_jitter_reach_ns",
        "_last_due_ns",
        "_loss",
        "_ns_per_byte",
        "_queue_ns",
        "_uniform",
        "changes_contents",
        "copy_bytes",
        "corrupt",
        "delay_ns",
        "description",
        "duplicate",
        "plain",
        "reorder",
        "whole_super_packets",
    )

    def __init__(self, description: Mapping[str, Any], source: random.Random | None = None) -> None:
        source = source or random.Random()
        self.description = dict(description)
        self.delay_ns = round(float(description.get("delay_s") or 0.0) * 1e9)
        jitter_ns = round(float(description.get("jitter_s") or 0.0) * 1e9)
        distribution = str(description.get("jitter_distribution") or "normal")
        draw = jitter_source(distribution, jitter_ns, source)
        self._draw = draw if jitter_ns else None
        self._jitter_reach_ns = round(jitter_ns * _JITTER_REACH[distribution])
        self.reorder = bool(description.get("reorder"))
        self._loss = float(description.get("loss") or 0.0)
        burst = description.get("burst_loss")
        self._burst = (
            burst_chain(
                float(burst["p"]), float(burst["r"]), float(burst["loss_bad"]), float(burst["loss_good"]), source
            )
            if burst
            else None
        )
        self.duplicate = float(description.get("duplicate") or 0.0)
        self.corrupt = float(description.get("corrupt") or 0.0)
        rate = description.get("rate_bps")
        self._ns_per_byte = 8e9 / float(rate) if rate else 0.0
        self._queue_ns = float(description.get("queue_bytes") or 0) * self._ns_per_byte
        self._uniform = source.random
        self._free_at_ns = 0.0
        self._last_due_ns = 0
        self.changes_contents = self.duplicate > 0.0 or self.corrupt > 0.0
        lossy = self._loss > 0.0 or self._burst is not None
        self.plain = not (self.paced or self.changes_contents or lossy or self._draw)
        self.whole_super_packets = self.plain
        self.copy_bytes = 0xFFFF if self.changes_contents else 20 if self.paced else 0

    @property
    def paced(self) -> bool:
        """Whether a rate holds packets back."""
        return self._ns_per_byte > 0.0

    @property
    def least_delay_ns(self) -> int:
        """No packet leaves sooner after its arrival; 0 where jitter may take all of the delay away."""
        if self._draw is None:
            return self.delay_ns
        return max(0, self.delay_ns - self._jitter_reach_ns)

    def follow(self, earlier: Effect, now_ns: int) -> None:
        """Take over from an earlier effect of the same link: the bytes that wait for its rate now wait for this one."""
        if earlier._ns_per_byte:
            self._free_at_ns = self._repaced(earlier._free_at_ns, earlier, now_ns)

    def rescheduled(self, due_ns: int, earlier: Effect, now_ns: int) -> int:
        """When a packet leaves that an earlier effect of the same link meant to leave at due_ns."""
        return int(self._repaced(due_ns - earlier.delay_ns, earlier, now_ns)) + earlier.delay_ns

    def _repaced(self, sent_ns: float, earlier: Effect, now_ns: int) -> float:
        if sent_ns <= now_ns or not earlier._ns_per_byte:
            return sent_ns
        return now_ns + (sent_ns - now_ns) * self._ns_per_byte / earlier._ns_per_byte

    def due(self, now_ns: int, length: int) -> int:
        """When a packet that arrives now is to be released, or LOST, or OVERFLOWED (the rate's queue is full).

        Args:
            now_ns: its arrival; never decreases from call to call by more than reading order allows.
            length: bytes of the IP packet; only a rate needs it.
        """
        if self._loss and self._uniform() < self._loss:
            return LOST
        if self._burst is not None and self._burst():
            return LOST
        due = float(now_ns)
        if self._ns_per_byte:
            start = self._free_at_ns if self._free_at_ns > due else due
            wire_ns = (length + FRAME_BYTES) * self._ns_per_byte
            if start - due + wire_ns > self._queue_ns:
                return OVERFLOWED
            self._free_at_ns = due = start + wire_ns
        due += self.delay_ns
        if self._draw is not None:
            due += self._draw()
            if due < now_ns:
                due = float(now_ns)
        whole = int(due)
        if not self.reorder:
            if whole < self._last_due_ns:
                whole = self._last_due_ns
            self._last_due_ns = whole
        return whole

    def duplicated(self) -> bool:
        """Whether this packet is to arrive twice."""
        return self.duplicate > 0.0 and self._uniform() < self.duplicate

    def corrupted(self, packet: bytes) -> bytes | None:
        """The packet with one bit flipped behind its IP header, or None if it stays as it is.

        The IP header is spared, or the packet would not be this link's any more.
        """
        if not self.corrupt or self._uniform() >= self.corrupt:
            return None
        header = 40 if packet[0] >> 4 == 6 else (packet[0] & 15) * 4
        bits = (len(packet) - header) * 8
        if bits <= 0:
            return None
        bit = int(self._uniform() * bits)
        changed = bytearray(packet)
        changed[header + bit // 8] ^= 1 << (bit % 8)
        return bytes(changed)
