"""How late packets were released, in constant memory."""

from __future__ import annotations

__all__ = ["Lateness"]

_FINE_NS = 10_000
_FINE_BUCKETS = 1_000
_COARSE_BUCKETS = 16


class Lateness:
    """A histogram of delays beyond the one asked for.

    The first 1,000 buckets are 10 us wide (to 10 ms); behind them, bucket i ends at 10 ms x 2^(i+1).
    """

    __slots__ = ("counts", "worst_ns")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (_FINE_BUCKETS + _COARSE_BUCKETS)
        self.worst_ns = 0

    def add(self, late_ns: int, packets: int = 1) -> None:
        """Count packets released late_ns after they were due."""
        if late_ns > self.worst_ns:
            self.worst_ns = late_ns
        index = late_ns // _FINE_NS
        if index >= _FINE_BUCKETS:
            index = _FINE_BUCKETS + min((index // _FINE_BUCKETS).bit_length() - 1, _COARSE_BUCKETS - 1)
        elif index < 0:
            index = 0
        self.counts[index] += packets

    @staticmethod
    def upper_edge_s(index: int) -> float:
        """Where a bucket ends, seconds."""
        if index < _FINE_BUCKETS:
            return (index + 1) * _FINE_NS * 1e-9
        return _FINE_BUCKETS * _FINE_NS * 1e-9 * float(1 << (index - _FINE_BUCKETS + 1))

    def percentile_s(self, fraction: float) -> float:
        """The upper edge of the bucket that holds the given fraction of all packets, seconds; 0 if there were none."""
        total = sum(self.counts)
        if not total:
            return 0.0
        wanted = fraction * total
        seen = 0
        for index, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(self.upper_edge_s(index), max(self.worst_ns * 1e-9, _FINE_NS * 1e-9))
        return self.worst_ns * 1e-9

    def report(self) -> dict[str, int | float | list[list[float]]]:
        """Plain JSON: packets, percentiles in seconds, and the non-empty buckets as [upper edge s, packets]."""
        return {
            "packets": sum(self.counts),
            "p50_s": self.percentile_s(0.5),
            "p99_s": self.percentile_s(0.99),
            "p999_s": self.percentile_s(0.999),
            "max_s": self.worst_ns * 1e-9,
            "histogram": [[self.upper_edge_s(i), count] for i, count in enumerate(self.counts) if count],
        }
