"""The `fake` link backend, for the fake runtime: there is no network, so it only remembers what was set."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import LinkFailure
from harness.links import gateway
from harness.model.links import Impairment, effective, severed
from harness.plan.cell import LinkPlan
from harness.runtime.protocol import Runtime

__all__ = ["FakeShaper"]


class FakeShaper:
    """Records what was set and reads it back; see `harness.links.protocol.LinkShaper`."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], Impairment] = {}
        self._cut: set[tuple[str, str]] = set()
        self._open = False

    @property
    def name(self) -> str:
        """ "fake"."""
        return "fake"

    @classmethod
    def unavailable(cls, lab: Runtime) -> str | None:
        """Only the fake runtime has no network that would need real shaping."""
        return f"runtime {lab.name!r} has a real network" if gateway.missing(lab) is None else None

    def apply(self, lab: Runtime, links: Sequence[LinkPlan]) -> None:
        """Remember all links."""
        self._links = {(link.source, link.target): effective(link.impairment) for link in links}
        self._open = True

    def change(self, source: str, target: str, impairment: Impairment) -> float:
        """Remember another impairment."""
        self._require(source, target)
        self._links[source, target] = effective(impairment)
        return time.monotonic()

    def cut(self, source: str, target: str) -> float:
        """Remember a cut."""
        self._require(source, target)
        self._cut.add((source, target))
        return time.monotonic()

    def heal(self, source: str, target: str) -> float:
        """Forget a cut."""
        self._require(source, target)
        self._cut.discard((source, target))
        return time.monotonic()

    def read_back(self) -> Mapping[tuple[str, str], Impairment]:
        """What was set."""
        self.check()
        return {
            pair: severed(impairment) if pair in self._cut else impairment for pair, impairment in self._links.items()
        }

    def evidence(self) -> Mapping[str, Any]:
        """Always valid: nothing was measured."""
        return {"backend": self.name, "valid": True, "why": [], "links": []}

    def check(self) -> None:
        """Raise LinkFailure unless links are applied."""
        if not self._open:
            raise LinkFailure("no link is in force", expected="apply() before anything else, nothing after close()")

    def close(self) -> None:
        """Forget everything."""
        self._open = False

    def _require(self, source: str, target: str) -> None:
        self.check()
        if (source, target) not in self._links:
            raise LinkFailure(f"there is no link from {source} to {target}", expected="a link that was applied")
