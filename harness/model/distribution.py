"""Values that are drawn anew for each message: payload sizes and service times, fixed or from a distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from harness.model.faults import Fault, refuse
from harness.model.frozen import Frozen, Real
from harness.model.quantities import Duration, Size

__all__ = ["Draw", "DurationDraw", "DurationOrDraw", "SizeDraw", "SizeOrDraw", "as_task", "mean_of"]

_KINDS = ("uniform", "exponential", "lognormal", "choice")
#: What a kind may have beside itself, and whether it must.
_BESIDE: Mapping[str, Mapping[str, bool]] = {
    "uniform": {},
    "exponential": {"max": False},
    "lognormal": {"sigma": True, "max": False},
    "choice": {"weights": False},
}


class Draw(Frozen):
    """A distribution: one of uniform, exponential, lognormal, choice. Draws derive from the scenario's seed."""

    uniform: tuple[float, float] | None = None
    exponential: float | None = None
    lognormal: float | None = None
    choice: tuple[float, ...] | None = None
    sigma: Real | None = Field(
        default=None,
        ge=0,
        le=10,
        description="of lognormal: standard deviation of the logarithm; with 1, p90 is 3.6 times the median",
    )
    weights: tuple[Annotated[Real, Field(ge=0, le=1_000_000)], ...] | None = Field(
        default=None, description="of choice: how often each is drawn, relative to the others; default: equally often"
    )
    max: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Draw:
        said = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(said) != 1:
            what = f"a distribution is one thing, this one {' and '.join(said) or 'nothing'}"
            raise refuse(Fault((), what, "one of " + ", ".join(_KINDS)))
        kind, beside = said[0], _BESIDE[said[0]]
        faults = [
            Fault((key,), f"{kind} has no {key}", "one of: " + ", ".join((kind, *beside)))
            for key in ("sigma", "weights", "max")
            if getattr(self, key) is not None and key not in beside
        ]
        faults += [
            Fault((), f"{kind} needs {key} too", f"{key}: 1")
            for key, needed in beside.items()
            if needed and getattr(self, key) is None
        ]
        if self.uniform is not None and self.uniform[1] < self.uniform[0]:
            faults.append(Fault(("uniform",), "the greatest value is less than the least", "[LEAST, GREATEST]"))
        values, weights = self.choice, self.weights
        if values is not None and weights is not None and (len(weights) != len(values) or not sum(weights)):
            what = f"{len(values)} values need as many weights, not all 0"
            faults.append(Fault(("weights",), what, str([1] * len(values))))
        if faults:
            raise refuse(*faults)
        return self

    @property
    def most(self) -> float:
        """The largest value that can be drawn; infinity where there is no bound."""
        if self.uniform is not None:
            return self.uniform[1]
        if self.choice is not None:
            return max(self.choice)
        return float("inf") if self.max is None else self.max


class SizeDraw(Draw):
    """A distribution of sizes: one of uniform, exponential, lognormal, choice. Draws derive from the run's seed."""

    uniform: tuple[Size, Size] | None = Field(default=None, description="evenly between two sizes: [512B, 4KiB]")
    exponential: Size | None = Field(default=None, description="exponential with this mean")
    lognormal: Size | None = Field(default=None, description="log-normal with this median; needs sigma")
    choice: tuple[Size, ...] | None = Field(default=None, min_length=1, description="one of these")
    max: Size | None = Field(default=None, description="of exponential and lognormal: larger draws become this")


class DurationDraw(Draw):
    """A distribution of times: one of uniform, exponential, lognormal, choice. Draws derive from the run's seed."""

    uniform: tuple[Duration, Duration] | None = Field(default=None, description="evenly between two times: [1ms, 5ms]")
    exponential: Duration | None = Field(default=None, description="exponential with this mean")
    lognormal: Duration | None = Field(default=None, description="log-normal with this median; needs sigma")
    choice: tuple[Duration, ...] | None = Field(default=None, min_length=1, description="one of these")
    max: Duration | None = Field(default=None, description="of exponential and lognormal: larger draws become this")


def _form(value: object) -> str:
    return "draw" if isinstance(value, (Mapping, Draw)) else "fixed"


#: A size in bytes, or a distribution of sizes.
SizeOrDraw = Annotated[
    Annotated[Size, Tag("fixed")] | Annotated[SizeDraw, Tag("draw")],
    Discriminator(_form),
]
#: A duration in seconds, or a distribution of durations.
DurationOrDraw = Annotated[
    Annotated[Duration, Tag("fixed")] | Annotated[DurationDraw, Tag("draw")],
    Discriminator(_form),
]


def as_task(value: float | Draw, unit: str) -> dict[str, Any]:
    """The value as the agent takes it (harness.agent.draw), `unit` being the key of a fixed one."""
    if not isinstance(value, Draw):
        return {"kind": "fixed", unit: value}
    most = {} if value.max is None else {"max": value.max}
    if value.uniform is not None:
        return {"kind": "uniform", "low": value.uniform[0], "high": value.uniform[1]}
    if value.exponential is not None:
        return {"kind": "exponential", "mean": value.exponential, **most}
    if value.lognormal is not None:
        return {"kind": "lognormal", "median": value.lognormal, "sigma": value.sigma, **most}
    assert value.choice is not None
    weights = {} if value.weights is None else {"weights": list(value.weights)}
    return {"kind": "choice", "values": list(value.choice), **weights}


def mean_of(value: float | Draw) -> float:
    """What is drawn on average; for a log-normal one its median, a bound on draws left out of account."""
    if not isinstance(value, Draw):
        return float(value)
    if value.uniform is not None:
        return sum(value.uniform) / 2
    if value.choice is not None:
        weights = value.weights or (1.0,) * len(value.choice)
        return sum(v * w for v, w in zip(value.choice, weights, strict=True)) / sum(weights)
    return float(value.exponential if value.exponential is not None else value.lognormal or 0.0)
