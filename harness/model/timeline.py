"""What happens to the links while the load runs, as a scenario file says it."""

from __future__ import annotations

from pydantic import Field, model_validator

from harness.model.faults import Fault, refuse
from harness.model.frozen import Frozen, Name
from harness.model.link_spec import LinkTraits
from harness.model.quantities import Duration

__all__ = ["Flap", "LinkEvent"]


class Flap(Frozen):
    """A link that goes down and comes up again, several times."""

    down: Duration = Field(description="how long it is down each time")
    up: Duration = Field(description="how long it is up in between")
    times: int = Field(ge=1, le=10_000, description="how often it goes down")

    @model_validator(mode="after")
    def _check(self) -> Flap:
        if self.down <= 0 or self.up <= 0:
            raise refuse(Fault((), "a flapping link is down for some time and up for some time", "down: 2s, up: 8s"))
        return self


class LinkEvent(Frozen):
    """One event: when, on which links, and one of set, ramp, partition or flap.

    Time is load time: seconds from the first due operation, warm-up included.
    """

    at: Duration = Field(description="load time at which it happens; 0 is the start of the load, warm-up included")
    link: Name | None = Field(default=None, description="the link it happens to, by its name in the topology")
    site: Name | None = Field(default=None, description="a site, to mean all links from and to it")
    source: Name | None = Field(default=None, alias="from", description="only the direction that leaves this site")
    set: LinkTraits | None = Field(default=None, description="values that hold from then on; the others stay")
    ramp: LinkTraits | None = Field(default=None, description="values to be reached step by step")
    over: Duration | None = Field(default=None, description="how long the ramp takes")
    steps: int | None = Field(default=None, ge=1, le=1000, description="steps of the ramp; default: two a second")
    partition: bool = Field(default=False, description="true: everything is lost")
    flap: Flap | None = Field(default=None, description="down and up again, several times")
    lasts: Duration | None = Field(
        default=None, alias="for", description="how long it lasts, then what held before holds again; default: for good"
    )
    every: Duration | None = Field(default=None, description="it happens again after this time, counted from its start")
    times: int | None = Field(
        default=None, ge=1, le=10_000, description="how often it happens in all; default: until the load ends"
    )

    @model_validator(mode="after")
    def _check(self) -> LinkEvent:
        faults = [*self._check_action(), *self._check_time()]
        if (self.link is None) == (self.site is None):
            faults.append(Fault((), "an event happens to a link or to a site's links", "link: NAME, or site: NAME"))
        if faults:
            raise refuse(*faults)
        return self

    def _check_action(self) -> list[Fault]:
        actions = [name for name in ("set", "ramp", "flap") if getattr(self, name) is not None]
        actions += ["partition"] if self.partition else []
        if len(actions) != 1:
            said = " and ".join(actions) if actions else "nothing"
            return [Fault((), f"an event does one thing, this one {said}", "one of set, ramp, partition: true, flap")]
        faults = []
        if self.ramp is not None and not self.over:
            faults.append(Fault(("ramp",), "a ramp takes time", "over: 20s"))
        if self.ramp is None and (self.over is not None or self.steps is not None):
            faults.append(Fault(("over" if self.over is not None else "steps",), "only a ramp has this", "ramp: {...}"))
        for name in ("set", "ramp"):
            traits: LinkTraits | None = getattr(self, name)
            if traits is not None and traits == LinkTraits():
                faults.append(Fault((name,), "no value is changed", f"{name}: {{rtt: 200ms}}"))
        if self.source is not None:
            faults += [
                Fault((name, "rtt"), "one direction alone has no round trip", "delay: 40ms")
                for name in ("set", "ramp")
                if getattr(self, name) is not None and getattr(self, name).rtt is not None
            ]
        return faults

    def _check_time(self) -> list[Fault]:
        faults = []
        if self.lasts is not None and self.flap is not None:
            faults.append(Fault(("for",), "a flap lasts as long as its times take", "no for"))
        if self.lasts is not None and self.lasts <= 0:
            faults.append(Fault(("for",), "an event lasts some time", "for: 30s"))
        if self.lasts is not None and self.over is not None and self.lasts < self.over:
            faults.append(Fault(("for",), "it ends before its ramp does", "for at least as long as over"))
        if self.times is not None and self.every is None:
            faults.append(Fault(("times",), "it is not said how far apart", "every: 60s"))
        if self.every is not None:
            duration = self.duration_s
            if duration is None:
                faults.append(Fault(("every",), "what lasts for good cannot happen again", "for: 10s"))
            elif self.every <= 0 or self.every < duration:
                faults.append(
                    Fault(("every",), f"it would begin again before it ends ({duration:g} s)", "a longer time")
                )
        return faults

    @property
    def duration_s(self) -> float | None:
        """How long one occurrence lasts, seconds; None for good."""
        if self.flap is not None:
            return self.flap.times * (self.flap.down + self.flap.up) - self.flap.up
        return self.lasts

    @property
    def ramp_end_s(self) -> float:
        """How long its ramp takes, seconds; 0 for an event that happens at once."""
        return self.over or 0.0
