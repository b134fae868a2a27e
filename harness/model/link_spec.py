"""How a topology file says what its links do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator, model_validator

from harness.model.faults import Fault, refuse, unknown_name
from harness.model.frozen import Flag, Frozen, Name, Real
from harness.model.geography import PATH_FACTOR
from harness.model.link_classes import LINK_CLASSES
from harness.model.links import GilbertElliott, Impairment, JitterDistribution
from harness.model.quantities import Duration, Fraction, Rate, Size

__all__ = ["BurstLoss", "LinkDefaults", "LinkSpec", "LinkTraits"]

#: Well below what netem's tree takes for no limit at all.
_LARGEST_RATE_BPS = 40e9


class BurstLoss(Frozen):
    """Losses in bursts, by the Gilbert-Elliott model: either its probabilities, or the mean loss and burst length."""

    p: Fraction | None = Field(default=None, description="probability per packet of entering the bad state")
    r: Fraction | None = Field(default=None, description="probability per packet of leaving the bad state")
    loss_bad: Fraction | None = Field(default=None, description="loss in the bad state; default 100%")
    loss_good: Fraction | None = Field(default=None, description="loss in the good state; default none")
    mean: Fraction | None = Field(default=None, description="long-run share of packets lost")
    length: Real | None = Field(default=None, ge=1, le=1e6, description="mean number of packets lost in a row")

    @model_validator(mode="after")
    def _check(self) -> BurstLoss:
        by_states, by_effect = {self.p, self.r} != {None}, {self.mean, self.length} != {None}
        if by_states == by_effect or None in ((self.p, self.r) if by_states else (self.mean, self.length)):
            raise refuse(Fault((), "burst loss is given by p and r, or by mean and length", "{mean: 1%, length: 5}"))
        if by_states and not self.r:
            raise refuse(Fault(("r",), "the bad state is never left", "r above 0"))
        if by_effect and {self.loss_bad, self.loss_good} != {None}:
            raise refuse(Fault((), "mean and length leave no room for loss_bad and loss_good", "p and r with them"))
        if by_effect and self.mean and self.length and self.mean >= self.length / (self.length + 1):
            raise refuse(
                Fault(
                    ("mean",),
                    f"a mean loss of {self.mean:.0%} needs longer bursts than {self.length:g} packets",
                    f"below {self.length / (self.length + 1):.1%} with this length",
                )
            )
        return self

    def chain(self) -> GilbertElliott:
        """The Markov chain that does this."""
        if self.p is not None and self.r is not None:
            loss_bad = 1.0 if self.loss_bad is None else self.loss_bad
            return GilbertElliott(self.p, self.r, loss_bad, self.loss_good or 0.0)
        mean, length = self.mean or 0.0, self.length or 1.0
        # Every packet of the bad state is lost: bursts last 1 / r packets, and p / (p + r) of all packets are bad.
        return GilbertElliott(p=mean / (length * (1 - mean)), r=1 / length)


class LinkTraits(Frozen):
    """What may be said of a link's direction. What is not said is left as it was."""

    link_class: str | None = Field(
        default=None, alias="class", description=f"a named kind of link to start from: {', '.join(LINK_CLASSES)}"
    )
    rtt: Duration | None = Field(default=None, description="round-trip time, applied half each way")
    delay: Duration | None = Field(default=None, description="one-way delay, instead of rtt")
    jitter: Duration | None = Field(
        default=None, description="spread of the delay (normal: standard deviation, pareto: scale, uniform: half width)"
    )
    distribution: JitterDistribution | None = Field(default=None, description="shape of the jitter; default normal")
    reorder: Flag | None = Field(default=None, description="whether jitter may make packets overtake; default no")
    loss: Fraction | None = Field(default=None, description="independent loss of each packet")
    burst_loss: BurstLoss | None = Field(default=None, description="losses in bursts, instead of loss")
    duplicate: Fraction | None = Field(default=None, description="share of packets that arrive twice")
    corrupt: Fraction | None = Field(default=None, description="share of packets with one bit flipped")
    rate: Rate | None = Field(default=None, description="rate limit")
    queue: Size | None = Field(
        default=None, ge=2000, description="bytes that may wait for the rate; default 100 ms worth"
    )

    @field_validator("link_class")
    @classmethod
    def _check_class(cls, value: str | None) -> str | None:
        if value is not None and value not in LINK_CLASSES:
            raise refuse(unknown_name((), "link class", value, list(LINK_CLASSES)))
        return value

    @field_validator("rate")
    @classmethod
    def _check_rate(cls, value: float | None) -> float | None:
        if value is not None and value < 1000:
            raise ValueError(
                "a link slower than 1kbit carries nothing; at least 1kbit, and to cut a link use a partition"
            )
        if value is not None and value > _LARGEST_RATE_BPS:
            raise ValueError("faster than any link backend limits; at most 40gbit, or no rate")
        return value

    @field_validator("rtt", "delay", "jitter")
    @classmethod
    def _check_delay(cls, value: float | None) -> float | None:
        if value is not None and value > 60:
            raise ValueError("longer than any link; at most 60s")
        return value

    @model_validator(mode="after")
    def _check_exclusive(self) -> LinkTraits:
        faults = [
            Fault((second,), f"{first} and {second} say the same in two ways", f"either {first} or {second}")
            for first, second in (("rtt", "delay"), ("loss", "burst_loss"))
            if getattr(self, first) is not None and getattr(self, second) is not None
        ]
        if faults:
            raise refuse(*faults)
        return self

    @property
    def says_delay(self) -> bool:
        """Whether a delay follows from what is said here."""
        return not (self.rtt is None and self.delay is None and self.link_class is None)

    def said(self) -> dict[str, Any]:
        """What is said, by key, as text with units."""
        return self.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)

    def over(self, base: Impairment) -> Impairment:
        """The impairment that results from saying this over what held before: the class first, then each value."""
        result = base
        if self.link_class is not None:
            kind = LINK_CLASSES[self.link_class]
            rate_bps = base.rate_bps if kind.rate_bps is None else kind.rate_bps
            result = replace(result, delay_s=kind.rtt_s / 2, rate_bps=rate_bps)
        if self.rtt is not None:
            result = replace(result, delay_s=self.rtt / 2)
        if self.delay is not None:
            result = replace(result, delay_s=self.delay)
        if self.jitter is not None:
            result = replace(result, jitter_s=self.jitter)
        if self.distribution is not None:
            result = replace(result, jitter_distribution=self.distribution)
        if self.reorder is not None:
            result = replace(result, reorder=self.reorder)
        if self.loss is not None:
            result = replace(result, loss=self.loss, burst_loss=None)
        if self.burst_loss is not None:
            result = replace(result, loss=0.0, burst_loss=self.burst_loss.chain())
        if self.duplicate is not None:
            result = replace(result, duplicate=self.duplicate)
        if self.corrupt is not None:
            result = replace(result, corrupt=self.corrupt)
        if self.rate is not None:
            result = replace(result, rate_bps=self.rate)
        if self.queue is not None:
            result = replace(result, queue_bytes=self.queue)
        return result


class LinkDefaults(LinkTraits):
    """What every link of a topology starts from."""

    mesh: Flag = Field(default=False, description="true: pairs of sites without a link of their own get one from this")
    path_factor: Real = Field(
        default=PATH_FACTOR, ge=1, le=10, description="how much longer than the great circle a cable between places is"
    )


class LinkSpec(LinkTraits):
    """A link: both directions alike (`between`), or one direction (`from`, `to`)."""

    between: tuple[Name, Name] | None = Field(default=None, description="the two sites; both directions are alike")
    source: Name | None = Field(default=None, alias="from", description="the site packets leave; one direction only")
    target: Name | None = Field(default=None, alias="to", description="the site packets reach; one direction only")

    @model_validator(mode="after")
    def _check_ends(self) -> LinkSpec:
        if self.between is not None and (self.source is not None or self.target is not None):
            raise refuse(Fault(("between",), "a link has either two ends or a direction", "between, or from and to"))
        if self.between is None and (self.source is None or self.target is None):
            raise refuse(Fault((), "a link needs its ends", "between: [a, b], or from: a and to: b"))
        if self.source is not None and self.rtt is not None:
            raise refuse(Fault(("rtt",), "one direction alone has no round trip", "delay: 40ms"))
        (path, first), (_, second) = self.endpoints()
        if first == second:
            raise refuse(Fault(path[:1], f"a link from {first!r} to itself", "two different sites"))
        return self

    def endpoints(self) -> tuple[tuple[tuple[str | int, ...], str], tuple[tuple[str | int, ...], str]]:
        """Every site name the link mentions, with where in the link it stands."""
        if self.between is not None:
            return ((("between", 0), self.between[0]), (("between", 1), self.between[1]))
        return ((("from",), self.source or ""), (("to",), self.target or ""))

    def directions(self) -> tuple[tuple[str, str], ...]:
        """The (source, target) site pairs the link describes."""
        (_, first), (_, second) = self.endpoints()
        return ((first, second), (second, first)) if self.between is not None else ((first, second),)
