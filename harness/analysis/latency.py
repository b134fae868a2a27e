"""Latency by pair of sites: who called whom, how long it took, and how that compares with the predicted floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.quantiles import quantile, quantiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Pair", "PairSamples", "Summary", "merge", "summarise"]


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """A workload between two sites. `server_site` is "" for operations that no single site served: messages to a target
    of several sites, and calls to one that were not answered."""

    workload: str
    pattern: str
    client_site: str
    server_site: str

    @property
    def label(self) -> str:
        """For people: "local-call, edge-a to edge-a"."""
        return f"{self.workload}, {self.client_site} to {self.to}"

    @property
    def to(self) -> str:
        """For people: who served."""
        return self.server_site or "several sites"


@dataclass(frozen=True, slots=True)
class PairSamples:
    """The measured operations of one pair, ascending, ns; failures and warm-up are not in them.

    Attributes:
        response: done - due.
        service: done - sent.
        delay: sent - due, of the failed operations too.
        arrival: received - due at the receiver, None where clocks differ, or where no single site is meant.
        failed: failed operations.
        in_flight: operations still under way at the end of the drain.
        starved: operations that found no free worker.
    """

    response: NDArray[np.int64]
    service: NDArray[np.int64]
    delay: NDArray[np.int64]
    arrival: NDArray[np.int64] | None
    failed: int
    in_flight: int
    starved: int

    @property
    def operations(self) -> int:
        """How many there were, in no matter what end. Not the arrivals, of which one may have several or none."""
        return len(self.response) + self.failed + self.in_flight

    @property
    def absent(self) -> int:
        """Operations without a latency: those that failed, and those that never ended."""
        return self.failed + self.in_flight

    @property
    def absent_share(self) -> float:
        """Of the operations, those without a latency, 0 to 1."""
        return self.absent / self.operations if self.operations else 0.0

    def headline(self, *, round_trip: bool) -> tuple[str, NDArray[np.int64]]:
        """The figure that counts for this kind of operation, by name: what a user waits for.

        "response" for a call; "arrival" for a message without an answer, or "acceptance" (until the bus took it)
        where arrival cannot be measured.
        """
        if round_trip:
            return "response", self.response
        if self.arrival is not None:
            return "arrival", self.arrival
        return "acceptance", self.response


@dataclass(frozen=True, slots=True)
class Summary:
    """Percentiles in milliseconds; NaN where the sample does not reach so far.

    Attributes:
        n, negative: latencies, and clock faults among them.
        min_ms, p50_ms, p90_ms, p99_ms, p999_ms, max_ms: of the operations that succeeded.
        p50_at_most_ms, p99_at_most_ms: of all operations, those without a latency counted as the slowest; infinite
            where there are more of them than lie beyond the percentile.
    """

    n: int
    negative: int
    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    p50_at_most_ms: float
    p99_at_most_ms: float


def summarise(ordered_ns: NDArray[np.int64], absent_share: float = 0.0) -> Summary:
    """Percentiles of an ascending sample in nanoseconds. Negative values are counted and kept, never dropped.

    Args:
        ordered_ns: of the operations that succeeded; where several receivers had their messages, each arrival.
        absent_share: of all operations, those that failed or never ended, 0 to 1.
    """
    if not len(ordered_ns):
        nan = float("nan")
        return Summary(0, 0, nan, nan, nan, nan, nan, nan, nan, nan)
    p50, p90, p99, p999 = (quantile(ordered_ns, level) / 1e6 for level in (0.5, 0.9, 0.99, 0.999))
    negative = int(np.searchsorted(ordered_ns, 0))
    least, most = ordered_ns[0] / 1e6, ordered_ns[-1] / 1e6
    at_most = (_at_most_ms(ordered_ns, absent_share, level) for level in (0.5, 0.99))
    return Summary(len(ordered_ns), negative, least, p50, p90, p99, p999, most, *at_most)


def _at_most_ms(ordered_ns: NDArray[np.int64], absent_share: float, level: float) -> float:
    """A percentile as if the operations without a latency were the slowest."""
    succeeded = 1 - absent_share
    return float(quantiles(ordered_ns, [level / succeeded])[0]) / 1e6 if level <= succeeded else float("inf")


def merge(samples: Sequence[PairSamples]) -> PairSamples:
    """Repetitions as one sample: percentiles are never averaged, the observations are merged."""
    arrivals = [sample.arrival for sample in samples if sample.arrival is not None]
    return PairSamples(
        response=_merged([sample.response for sample in samples]),
        service=_merged([sample.service for sample in samples]),
        delay=_merged([sample.delay for sample in samples]),
        arrival=_merged(arrivals) if len(arrivals) == len(samples) else None,
        failed=sum(sample.failed for sample in samples),
        in_flight=sum(sample.in_flight for sample in samples),
        starved=sum(sample.starved for sample in samples),
    )


def _merged(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    if len(parts) == 1:
        return parts[0]
    joined = np.concatenate(parts) if parts else np.empty(0, np.int64)
    joined.sort(kind="stable")  # merging runs that are sorted already is what timsort is good at
    return joined
