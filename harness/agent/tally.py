"""Live counts of an agent: what it did so far, and a coarse latency histogram, for the progress line.

The histogram has 8 buckets per doubling (bounds 9 % apart at most 12.5 %), so that p50 and p99 on the live view are
near enough; results come from the records, never from here. Bucket i holds durations d (ns) with `bucket(d) == i`;
`bucket_floor(i)` is the least of them.
"""

from __future__ import annotations

from typing import Any

from harness.agent.records import REQUEUED, STARVED

__all__ = ["Tally", "bucket", "bucket_floor"]


def bucket(duration: int) -> int:
    """Bucket of a duration in ns; durations below 8 ns share the first buckets."""
    if duration < 8:
        return max(0, duration)
    octave = duration.bit_length() - 4
    return (octave << 3) + (duration >> octave)


def bucket_floor(index: int) -> int:
    """The shortest duration in a bucket, ns."""
    if index < 16:
        return index
    octave = (index >> 3) - 1
    return (8 + (index & 7)) << octave


class Tally:
    """Counters and histogram; for one thread at a time."""

    def __init__(self) -> None:
        self._histogram = [0] * bucket(1 << 62)
        self._reported = list(self._histogram)
        self._failed: dict[int, int] = {}
        self.sent = 0
        self.done = 0
        self.starved = 0
        self.given_back = 0
        self.negative = 0

    def ended(self, status: int, duration: int, flags: int = 0) -> None:
        """An operation ended: with status 0 after `duration` ns, or failed (failures are never latencies).

        Of its record's flags (records.py) these are counted: STARVED, REQUEUED.
        """
        if flags & STARVED:
            self.starved += 1
        if flags & REQUEUED:
            self.given_back += 1
        if status:
            self._failed[status] = self._failed.get(status, 0) + 1
            return
        self.done += 1
        if duration < 0:
            self.negative += 1
        else:
            self._histogram[bucket(duration)] += 1

    def totals(self) -> dict[str, Any]:
        """sent, done, in_flight (sent and not ended), starved, given_back (messages a server gave back to its bus),
        negative (latencies below zero: a clock fault) and failed, by status."""
        return {
            "sent": self.sent,
            "done": self.done,
            "in_flight": self.sent - self.done - sum(self._failed.values()),
            "starved": self.starved,
            "given_back": self.given_back,
            "negative": self.negative,
            "failed": dict(self._failed),
        }

    def histogram_delta(self) -> dict[str, int]:
        """Counts by bucket since the last call."""
        delta: dict[str, int] = {}
        reported = self._reported
        for index, count in enumerate(self._histogram):
            if count != reported[index]:
                delta[str(index)] = count - reported[index]
                reported[index] = count
        return delta
