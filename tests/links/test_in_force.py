"""What is read back must be what was declared, up to what mechanisms round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.errors import LinkFailure
from harness.links.fake import FakeShaper
from harness.links.in_force import differences, require_in_force
from harness.model.links import GilbertElliott, Impairment
from harness.plan.cell import LinkPlan
from tests.links.labs import FakeLab

DECLARED = Impairment(0.0401, 0.002, burst_loss=GilbertElliott(0.01, 0.25), rate_bps=20e6)


@pytest.mark.parametrize(
    "rounded",
    [{"delay_s": 0.04010004}, {"queue_bytes": 250_700}, {"rate_bps": 20000001.0}, {"corrupt": 1e-9}],
)
def test_rounding_is_no_difference(rounded: dict[str, Any]) -> None:
    assert differences(DECLARED, replace(DECLARED, **{"queue_bytes": 250_000, **rounded})) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay_s": 0.0402},
        {"jitter_s": 0.0},
        {"jitter_distribution": "pareto"},
        {"reorder": True},
        {"burst_loss": None},
        {"burst_loss": GilbertElliott(0.01, 0.26)},
        {"loss": 0.001},
        {"rate_bps": None},
        {"queue_bytes": None},
        {"queue_bytes": 200_000},
    ],
)
def test_anything_else_is(wrong: dict[str, Any]) -> None:
    (told,) = differences(DECLARED, replace(DECLARED, **{"queue_bytes": 250_000, **wrong}))
    assert told.startswith(next(iter(wrong)))


def test_rates_are_compared_in_whole_bytes_a_second() -> None:
    slow = Impairment(rate_bps=1500.0)
    assert differences(slow, replace(slow, rate_bps=1496.0, queue_bytes=65536)) == []
    assert differences(slow, replace(slow, rate_bps=1480.0, queue_bytes=65536)) == ["rate_bps is 1480.0, not 1500.0"]


def test_a_lab_whose_links_are_not_what_was_declared_does_not_go_on() -> None:
    links = [LinkPlan("ab", "a", "b", DECLARED), LinkPlan("ab", "b", "a", DECLARED)]
    shaper = FakeShaper()
    shaper.apply(FakeLab, links)
    require_in_force(shaper, links)
    shaper.change("a", "b", replace(DECLARED, loss=0.5))
    with pytest.raises(LinkFailure, match=r"a -> b: loss is 0.5, not 0.0"):
        require_in_force(shaper, links)
    shaper.change("a", "b", DECLARED)
    with pytest.raises(LinkFailure, match="b -> a: nobody declared it"):
        require_in_force(shaper, links[:1])
    with pytest.raises(LinkFailure, match="a -> c: it is not there"):
        require_in_force(shaper, [*links, LinkPlan("ac", "a", "c", DECLARED)])
