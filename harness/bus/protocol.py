"""What a bus is: the messaging system under test, its configuration, readiness, endpoints and own figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from harness.plan.cell import BusPlan
from harness.runtime.protocol import NodeProcess, Runtime

__all__ = ["Bus"]


class Bus(Protocol):
    """One bus in one lab. `start` may raise BusFailure, MissingCapability."""

    @property
    def kind(self) -> str:
        """Registered kind: "rabbitmq", "router", "loopback"."""

    def start(self, lab: Runtime, plan: BusPlan, *, timeout_s: float) -> None:
        """Start every component and return when the bus is whole: brokers clustered, routers see each other."""

    def url(self, component: str) -> str:
        """The oslo.messaging transport URL a client uses to reach that component (carries the password)."""

    def processes(self) -> Mapping[str, NodeProcess]:
        """The running process of each component, for sampling and for faults."""

    def stop_component(self, component: str, *, kill: bool) -> None:
        """Stop one component, politely or with SIGKILL."""

    def start_component(self, component: str, *, timeout_s: float) -> None:
        """Start a stopped component again and wait until it takes part."""

    def metrics(self) -> Mapping[str, Any]:
        """The bus's own counters per component, plain JSON (connections, queues, exchanges, links, deliveries ...)."""

    def facts(self) -> Mapping[str, Any]:
        """What the result should record: implementation, version, whether it is a stand-in (`stand_in: bool`)."""

    def stop(self) -> None:
        """Stop everything, saving logs. Idempotent."""
