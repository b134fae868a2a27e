"""No bus at all: agents of one host meet over Unix sockets. The harness's own floor, and its quickest test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import BusFailure
from harness.plan.cell import BusPlan
from harness.runtime.protocol import WAN, NodeProcess, Runtime

__all__ = ["LoopbackBus"]


class LoopbackBus:
    """A directory in which agents find each other. See `harness.bus.protocol.Bus` for the contract."""

    kind = "loopback"

    def __init__(self) -> None:
        self._directory = ""

    def start(self, lab: Runtime, plan: BusPlan, *, timeout_s: float) -> None:
        if lab.name not in ("fake", "local"):
            raise BusFailure(
                f"the loopback bus needs nodes that share a file system, which runtime {lab.name!r} does not give",
                remedy="--runtime local or --runtime fake",
            )
        self._directory = f"{lab.workdir(WAN)}/{plan.name}"
        made = lab.run(WAN, ["mkdir", "-p", self._directory])
        if made.returncode != 0:
            raise BusFailure(f"its directory cannot be made: {made.stderr.strip()}", where=self._directory)

    def url(self, component: str) -> str:
        return f"loopback://{self._directory}"

    def processes(self) -> Mapping[str, NodeProcess]:
        return {}

    def stop_component(self, component: str, *, kill: bool) -> None:
        raise BusFailure("the loopback bus has no components", where=component)

    def start_component(self, component: str, *, timeout_s: float) -> None:
        raise BusFailure("the loopback bus has no components", where=component)

    def metrics(self) -> Mapping[str, Any]:
        return {}

    def facts(self) -> Mapping[str, Any]:
        return {"kind": self.kind, "implementation": "loopback", "version": "", "stand_in": False}

    def stop(self) -> None:
        self._directory = ""
