"""A workload: which operations, between whom, when, how large. A pure description; the planner turns it into tasks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from harness.model.faults import Fault, refuse
from harness.model.frozen import Frozen, Name
from harness.model.quantities import Duration, Frequency, Size

__all__ = ["Agents", "Pattern", "ServerSpec", "Workload"]

Pattern = Literal["rpc-call", "rpc-cast", "rpc-fanout", "notify"]


def _agents(value: object) -> object:
    """`edge-a` and `[edge-a, edge-b]` are as good as `{edge-a: 1, edge-b: 1}`."""
    if isinstance(value, str):
        return {value: 1}
    if isinstance(value, list):
        return {str(site): value.count(site) for site in value}
    return value


Agents = Annotated[dict[Name, Annotated[int, Field(ge=1, le=2000)]], BeforeValidator(_agents), Field(min_length=1)]


class ServerSpec(Frozen):
    """How the servers (or notification listeners) of a workload behave."""

    threads: int = Field(default=16, ge=1, le=1024, description="threads that serve requests in each server")
    service_time: Duration = Field(default=0, description="how long a server works on each request")


class Workload(Frozen):
    """One stream of operations between placed clients and servers."""

    pattern: Pattern = Field(description="what an operation is")
    bus: Name = Field(default="main", description="name of the bus within the system, where a system has several")
    clients: Agents = Field(description="client agents per site")
    servers: Agents = Field(description="server agents (listeners for notify) per site")
    targets: Literal["shared", "per-site"] = Field(
        default="shared",
        description="shared: every client may reach every server; per-site: a client is served at its own site",
    )
    mode: Literal["open", "closed"] = Field(
        default="open",
        description="open: operations are due by the clock, whatever happened before; closed: each follows the last",
    )
    rate: Frequency | None = Field(default=None, description="operations per second of each client (open mode)")
    arrivals: Literal["constant", "poisson"] = Field(
        default="constant", description="spacing of operations (open mode)"
    )
    pause: Duration = Field(default=0, description="think time between operations (closed mode)")
    payload: Size = Field(default=1024, description="bytes of each message's payload")
    timeout: Duration = Field(default=10.0, description="how long a client waits for an operation")
    workers: int | None = Field(
        default=None, ge=1, le=1024, description="threads of each client; default: enough for its rate"
    )
    server: ServerSpec = Field(default_factory=ServerSpec, description="how the servers behave")

    @model_validator(mode="after")
    def _check(self) -> Workload:
        faults = []
        if self.mode == "open" and not self.rate:
            faults.append(Fault(("rate",), "an open-loop workload needs a rate above 0", "rate: 20/s, or mode: closed"))
        if self.mode == "closed" and self.rate is not None:
            faults.append(Fault(("rate",), "a closed-loop workload has no rate", "pause: 100ms, or mode: open"))
        if self.mode == "open" and self.pause:
            faults.append(Fault(("pause",), "an open-loop workload has no think time", "mode: closed, or no pause"))
        if self.timeout <= 0:
            faults.append(Fault(("timeout",), "an operation needs time to finish", "timeout: 10s"))
        if self.payload > 64 * 1024 * 1024:
            faults.append(Fault(("payload",), "a payload of more than 64 MiB", "at most 64MiB"))
        if self.targets == "per-site":
            faults += [
                Fault(
                    ("clients", site),
                    f"clients at {site!r} have no server to call: targets are per-site and no server stands there",
                    f"servers at {site!r}, or targets: shared",
                )
                for site in self.clients
                if site not in self.servers
            ]
        if faults:
            raise refuse(*faults)
        return self

    @property
    def round_trip(self) -> bool:
        """Whether an operation ends with an answer."""
        return self.pattern == "rpc-call"
