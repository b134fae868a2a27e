"""What a link backend is: it turns the declared links into real distance, inside the wan gateway of a lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from harness.model.links import Impairment
from harness.plan.cell import LinkPlan
from harness.runtime.protocol import Runtime

__all__ = ["LinkShaper"]


class LinkShaper(Protocol):
    """Shapes the links of one lab. All methods may raise LinkFailure.

    Fails closed: a pair of sites without an applied link exchanges nothing, and if the shaper dies inter-site
    traffic stops. No change ever leaves a moment in which packets cross unimpaired.
    """

    @property
    def name(self) -> str:
        """Registered name: "netem", "nfqueue", "fake"."""

    @classmethod
    def unavailable(cls, lab: Runtime) -> str | None:
        """Why this backend cannot work in this (opened) lab's gateway, found out by trying it; None if it can."""

    def apply(self, lab: Runtime, links: Sequence[LinkPlan]) -> None:
        """Put all links into force. Called once, on a lab that is open and carries no inter-site traffic yet."""

    def change(self, source: str, target: str, impairment: Impairment) -> float:
        """Change one direction live; acts on the next packet. Returns the CLOCK_MONOTONIC instant it took effect, s."""

    def cut(self, source: str, target: str) -> float:
        """Partition one direction: everything is lost until `heal`. Returns the instant, seconds."""

    def heal(self, source: str, target: str) -> float:
        """End a partition; the direction's impairment is what it was, or what `change` made it meanwhile."""

    def read_back(self) -> Mapping[tuple[str, str], Impairment]:
        """What is really in force, read from the mechanism itself, by (source site, target site)."""

    def evidence(self) -> Mapping[str, Any]:
        """Plain-JSON self-evidence so far: lateness histogram and percentiles (s), kernel drops, tail drops, packets
        per direction, scheduling class; `{"valid": bool, "why": [...]}` judges the shaper's own envelope."""

    def check(self) -> None:
        """Raise LinkFailure at once if the shaper is no longer shaping; cheap, called at least once a second."""

    def close(self) -> None:
        """Stop shaping; inter-site traffic is refused afterwards. Idempotent."""
