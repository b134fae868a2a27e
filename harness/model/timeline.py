"""What happens to links, bus components and agents while the load runs, as a scenario file says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from harness.model.faults import Fault, nearest, refuse
from harness.model.frozen import Flag, Frozen, Name, Whole
from harness.model.link_spec import LinkTraits
from harness.model.quantities import Duration

__all__ = ["ALL_LINKS", "GROUPS", "Flap", "LinkEvent", "ProcessEvent", "TimelineEvent"]

#: What `link` says to mean every link.
ALL_LINKS = "all"
#: Words that mean several processes; any other word is the name of one.
GROUPS = ("bus", "servers", "clients")


class Flap(Frozen):
    """A link that goes down and comes up again, several times."""

    down: Duration = Field(description="how long it is down each time")
    up: Duration = Field(description="how long it is up in between")
    times: Whole = Field(ge=1, le=10_000, description="how often it goes down")

    @model_validator(mode="after")
    def _check(self) -> Flap:
        if self.down <= 0 or self.up <= 0:
            raise refuse(Fault((), "a flapping link is down for some time and up for some time", "down: 2s, up: 8s"))
        return self


class _Event(Frozen):
    """When something happens, and how often.

    Time is load time: seconds from the first due operation, warm-up included.
    """

    at: Duration = Field(description="load time at which it happens; 0 is the start of the load, warm-up included")
    lasts: Duration | None = Field(
        default=None, alias="for", description="how long it lasts, then what held before holds again; default: for good"
    )
    apart: Duration | None = Field(
        default=None,
        description="where it happens to several: to one after the other, this far apart; default: at once",
    )
    every: Duration | None = Field(default=None, description="it happens again after this time, counted from its start")
    times: Whole | None = Field(
        default=None, ge=1, le=10_000, description="how often it happens in all; default: until the load ends"
    )

    @property
    def duration_s(self) -> float | None:
        """How long one occurrence lasts, seconds; None for good."""
        return self.lasts

    def _check_repetition(self) -> list[Fault]:
        faults = []
        if self.lasts is not None and self.lasts <= 0:
            faults.append(Fault(("for",), "an event lasts some time", "for: 30s"))
        if self.apart is not None and self.apart <= 0:
            faults.append(Fault(("apart",), "one after the other takes some time", "apart: 60s"))
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


class LinkEvent(_Event):
    """One event on links: when, on which, and one of set, ramp, partition or flap."""

    link: Name | None = Field(
        default=None, description="the link it happens to, by its name in the topology; all: every link"
    )
    site: Name | None = Field(default=None, description="a site, to mean all links from and to it")
    source: Name | None = Field(default=None, alias="from", description="only the direction that leaves this site")
    set: LinkTraits | None = Field(default=None, description="values that hold from then on; the others stay")
    ramp: LinkTraits | None = Field(default=None, description="values to be reached step by step")
    over: Duration | None = Field(default=None, description="how long the ramp takes")
    steps: Whole | None = Field(default=None, ge=1, le=1000, description="steps of the ramp; default: two a second")
    partition: Flag = Field(default=False, description="true: everything is lost")
    flap: Flap | None = Field(default=None, description="down and up again, several times")

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
        if self.ramp is not None and self.ramp.burst_loss is not None:
            faults.append(
                Fault(("ramp", "burst_loss"), "bursts are not reached step by step", "set, or a ramp of loss")
            )
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
        if self.lasts is not None and self.over is not None and self.lasts < self.over:
            faults.append(Fault(("for",), "it ends before its ramp does", "for at least as long as over"))
        if self.apart is not None and self.link is not None and self.link != ALL_LINKS:
            faults.append(Fault(("apart",), "it happens to one link only", "link: all, or a site"))
        return faults + self._check_repetition()

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


#: A process by its name, or one of GROUPS.
Who = Annotated[str, Field(min_length=1, max_length=200)]


class ProcessEvent(_Event):
    """One event on processes: when, to which, and one of restart, stop, kill or pause.

    Who it happens to is the name of a bus component (`broker-core`) or of an agent (`call-server-core-1`), or `bus`,
    `servers` or `clients`: all of that kind, of one site or one workload where that is said. A name that only another
    of the scenario's systems has is left out in this one.
    """

    restart: Who | None = Field(
        default=None, description="a bus component is stopped, and started again with the data it had"
    )
    stop: Who | None = Field(
        default=None, description="it is told to end (SIGTERM); with `for`, a bus component is started again afterwards"
    )
    kill: Who | None = Field(
        default=None,
        description="it is ended at once (SIGKILL); with `for`, a bus component is started again afterwards",
    )
    pause: Who | None = Field(default=None, description="it is halted where it stands (SIGSTOP), `for` some time")
    down: Duration = Field(default=0.0, description="how long a restart leaves the component down")
    site: Name | None = Field(default=None, description="only those at this site")
    workload: Name | None = Field(default=None, description="only the servers or clients of this workload")

    @model_validator(mode="after")
    def _check(self) -> ProcessEvent:
        said = [name for name in _ACTIONS if getattr(self, name) is not None]
        if len(said) != 1:
            raise refuse(
                Fault((), f"an event does one thing, this one {' and '.join(said)}", f"one of {', '.join(_ACTIONS)}")
            )
        faults = self._check_repetition()
        if self.action == "restart" and self.lasts is not None:
            faults.append(Fault(("for",), "a restart is over when the component is ready again", "down: 10s"))
        if self.action != "restart" and self.down:
            faults.append(Fault(("down",), "only a restart has this", "for: 10s"))
        if self.who not in GROUPS:
            faults += [
                Fault((key,), f"{self.who!r} is one process already", f"{self.action}: {' or '.join(GROUPS)}")
                for key in ("site", "workload", "apart")
                if getattr(self, key) is not None
            ]
        elif self.who == "bus" and self.workload is not None:
            faults.append(Fault(("workload",), "a bus serves every workload", "servers or clients"))
        if faults:
            raise refuse(*faults)
        return self

    @property
    def action(self) -> Literal["restart", "stop", "kill", "pause"]:
        """What is done."""
        return next(name for name in _ACTIONS if getattr(self, name) is not None)

    @property
    def who(self) -> str:
        """To whom: a name, or one of GROUPS."""
        return str(getattr(self, self.action))

    @property
    def duration_s(self) -> float | None:
        """How long one occurrence lasts at least, seconds; None for good."""
        return self.down if self.action == "restart" else self.lasts


_ACTIONS: tuple[Literal["restart", "stop", "kill", "pause"], ...] = ("restart", "stop", "kill", "pause")
_LINK_KEYS = ("link", "from", "set", "ramp", "over", "steps", "partition", "flap")


def _kind_of(value: object) -> str:
    """Which kind of event is meant, also by one whose keys are misspelt. Tags are no keys: a location holds both."""
    if isinstance(value, ProcessEvent):
        return "process event"
    keys = [str(key) for key in value] if isinstance(value, Mapping) else []
    if any(key in _LINK_KEYS for key in keys) and not any(key in _ACTIONS for key in keys):
        return "link event"
    meant = [nearest(key, [*_ACTIONS, *_LINK_KEYS]) for key in keys]
    return "process event" if any(key in _ACTIONS for key in meant) else "link event"


#: One entry of a scenario's timeline.
TimelineEvent = Annotated[
    Annotated[LinkEvent, Tag("link event")] | Annotated[ProcessEvent, Tag("process event")], Discriminator(_kind_of)
]
