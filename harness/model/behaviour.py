"""How servers and notification listeners treat what reaches them, and how notifications are sent, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.model.distribution import DurationOrDraw
from harness.model.faults import Fault, refuse
from harness.model.frozen import Frozen, Name, Whole
from harness.model.quantities import Duration, Fraction

__all__ = ["NotifySpec", "Priority", "ServerSpec", "Stall"]

#: Priorities oslo.messaging's notifier has methods for.
Priority = Literal["audit", "debug", "info", "warn", "error", "critical", "sample"]


class Stall(Frozen):
    """A time in which nothing is served; requests wait."""

    at: Duration = Field(description="load time at which it begins; 0 is the start of the load, warm-up included")
    lasts: Duration = Field(alias="for", gt=0, description="how long it lasts")


class ServerSpec(Frozen):
    """How the servers (or notification listeners) of a workload behave."""

    threads: Whole = Field(default=16, ge=1, le=1024, description="threads that serve requests in each server")
    service_time: DurationOrDraw = Field(
        default=0, description="how long a server works on each request; fixed, or a distribution, like payload"
    )
    raises: Fraction = Field(default=0, description="share of requests answered with an exception")
    silent: Fraction = Field(
        default=0, description="share of requests never answered; each holds one of the threads until the load ends"
    )
    requeues: Fraction = Field(default=0, lt=1, description="share of notifications given back to the bus, each time")
    stalls: tuple[Stall, ...] = Field(default=(), description="times in which nothing is served")
    acknowledge: Literal["before", "after"] | None = Field(
        default=None,
        description="whether messages are acknowledged before or after they are processed (not adapter "
        "loopback; oslo.messaging acknowledges RPC before and notifications after)",
    )

    @model_validator(mode="after")
    def _check(self) -> ServerSpec:
        if self.raises + self.silent > 1:
            what = "more than all requests are either refused or never answered"
            raise refuse(Fault(("silent",), what, "raises and silent of 100% together at most"))
        return self


class NotifySpec(Frozen):
    """How notifications are sent and taken."""

    priorities: tuple[Priority, ...] = Field(
        default=("info",), min_length=1, description="taken in turn by each client; listeners take all of them"
    )
    pools: tuple[Name, ...] = Field(
        default=(),
        description="names of listener pools, the listeners dealt out to them in turn: every pool gets every "
        "notification, one of its listeners each (RabbitMQ only); default: all listeners share",
    )
    driver: Literal["messagingv2", "messaging"] = Field(
        default="messagingv2", description="oslo.messaging's notification driver: with or without its envelope"
    )

    @model_validator(mode="after")
    def _check(self) -> NotifySpec:
        for key in ("priorities", "pools"):
            names = getattr(self, key)
            doubled = [(at, name) for at, name in enumerate(names) if name in names[:at]]
            if doubled:
                raise refuse(Fault((key, doubled[0][0]), f"{doubled[0][1]!r} is named twice", "each once"))
        return self
