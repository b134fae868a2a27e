"""Named kinds of links, with where their figures come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["LINK_CLASSES", "LinkClass"]


@dataclass(frozen=True, slots=True)
class LinkClass:
    """A kind of link, both directions alike; what it does not say is left to the topology's defaults.

    Attributes:
        rtt_s: round-trip time, seconds.
        source: where the figures come from.
        rate_bps: rate limit of each direction, bit/s, None for none.
    """

    rtt_s: float
    source: str
    rate_bps: float | None = None


LINK_CLASSES: Mapping[str, LinkClass] = MappingProxyType(
    {
        "metro": LinkClass(
            0.002,
            "derived: 100 km of great circle at fibre speed and path factor 1.5 is 1.5 ms, plus 0.5 ms for equipment",
        ),
        "continental": LinkClass(
            0.045,
            "Verizon's service level for the average round trip between hub routers in the contiguous United States",
        ),
        "intercontinental": LinkClass(
            0.090,
            "Verizon's service level for the average round trip between New York and London",
        ),
        "satellite": LinkClass(
            0.558,
            "RFC 2488, section 2: one geostationary hop each way, ground stations at the edge of the view area",
        ),
        "lte": LinkClass(
            0.0531,
            "Ofcom, Measuring mobile broadband performance in the UK, second wave, 2014: mean 4G latency 53.1 ms, "
            "upload 13.6 Mbit/s (download 14.7)",
            rate_bps=13.6e6,
        ),
    }
)
