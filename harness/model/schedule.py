"""When operations are due: open loop at a rate that is constant or changes, in bursts, or closed loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.model.faults import Fault, refuse
from harness.model.frozen import Frozen, Whole
from harness.model.quantities import MOST_OFTEN_PER_S, Duration, Frequency, format_duration, format_frequency

__all__ = ["Burst", "Closed", "Ramp", "Schedule", "Step"]


class Step(Frozen):
    """One rate for some time."""

    rate: Frequency = Field(description="operations per second of each client; 0 for a rest")
    lasts: Duration = Field(alias="for", gt=0, description="how long; the last step lasts until the load ends")


class Ramp(Frozen):
    """A rate that grows or falls evenly."""

    start: Frequency = Field(alias="from", description="operations per second of each client at the beginning")
    to: Frequency = Field(description="operations per second of each client at the end, and from then on")
    over: Duration | None = Field(default=None, gt=0, description="how long it takes; default: the whole load")

    @model_validator(mode="after")
    def _check(self) -> Ramp:
        if not self.start and not self.to:
            raise refuse(Fault(("to",), "a ramp from 0 to 0 does nothing", "to: 50/s"))
        return self


class Burst(Frozen):
    """Many operations at the same instant, again and again; all clients at once."""

    size: Whole = Field(ge=1, le=100_000, description="operations of each client that are due together")
    every: Duration = Field(gt=0, description="from one burst to the next")

    @model_validator(mode="after")
    def _check(self) -> Burst:
        if self.size / self.every > MOST_OFTEN_PER_S:
            what = f"bursts of {self.size} every {format_duration(self.every)} are more than a client can begin"
            raise refuse(Fault(("every",), what, f"at most {format_frequency(MOST_OFTEN_PER_S)} on average"))
        return self


class Closed(Frozen):
    """Closed loop: an operation follows the end of the one before, in each thread of each client."""

    pause: Duration = Field(default=0, description="think time between operations")
    count: Whole | None = Field(
        default=None, ge=1, le=10**9, description="operations of each client in all; default: until the load ends"
    )


class Schedule(Frozen):
    """When each client's operations are due: one of rate, steps, ramp, burst, closed.

    All but closed are open loop: an operation is due by the clock, whatever became of those before it.
    """

    rate: Frequency | None = Field(default=None, gt=0, description="one rate, operations per second of each client")
    steps: tuple[Step, ...] | None = Field(default=None, min_length=1, description="one rate after the other")
    ramp: Ramp | None = Field(default=None, description="from one rate to another")
    burst: Burst | None = Field(default=None, description="many at once, again and again")
    closed: Closed | None = Field(default=None, description="each follows the last; {} for no pause")
    arrivals: Literal["constant", "poisson"] = Field(
        default="constant", description="spacing of operations at a rate, on steps or on a ramp: even or random"
    )

    @model_validator(mode="after")
    def _check(self) -> Schedule:
        kinds = ("rate", "steps", "ramp", "burst", "closed")
        said = [name for name in kinds if getattr(self, name) is not None]
        if len(said) != 1:
            what = f"a schedule is one thing, this one {' and '.join(said) or 'nothing'}"
            raise refuse(Fault((), what, "one of " + ", ".join(kinds)))
        if self.steps is not None and not any(step.rate for step in self.steps):
            raise refuse(Fault(("steps",), "every step has rate 0", "a rate above 0 in one of them"))
        if self.arrivals == "poisson" and said[0] in ("burst", "closed"):
            raise refuse(Fault(("arrivals",), f"{said[0]} has its own spacing", "no arrivals"))
        return self

    @property
    def peak_per_s(self) -> float | None:
        """The highest rate it reaches, operations per second of a client; None for burst and closed."""
        if self.rate is not None:
            return self.rate
        if self.steps is not None:
            return max(step.rate for step in self.steps)
        if self.ramp is not None:
            return max(self.ramp.start, self.ramp.to)
        return None
