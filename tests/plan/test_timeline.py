"""From a timeline to changes of link directions: what overlaps, what returns, and what is refused."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.errors import BadFile
from harness.files import load_scenario, plan_run
from harness.model.links import Impairment, severed
from harness.model.timeline import LinkEvent
from harness.plan.cell import LinkChange, LinkPlan
from harness.plan.timeline import after_all, expand, timeline_faults

BASE = Impairment(delay_s=0.01)
LINKS = tuple(
    LinkPlan(name, *pair, BASE) for name, a, b in (("ab", "a", "b"), ("ac", "a", "c")) for pair in ((a, b), (b, a))
)
SITES = ["a", "b", "c"]


def event(**fields: Any) -> LinkEvent:
    return LinkEvent.model_validate({"for" if key == "lasts" else key: value for key, value in fields.items()})


def played(*events: LinkEvent, load_s: float = 100.0, pair: tuple[str, str] = ("a", "b")) -> list[tuple[float, Any]]:
    """(load time, impairment or action) of one direction."""
    changes = expand(events, LINKS, load_s)
    return [(c.at_s, c.impairment or c.action) for c in changes if (c.source, c.target) == pair]


def test_a_value_is_set_for_good_on_both_directions() -> None:
    changes = expand([event(at="60s", link="ab", set={"rtt": "200ms"})], LINKS, 100)
    slow = Impairment(delay_s=0.1)
    assert changes == (
        LinkChange(60, "ab", "a", "b", "change", slow, 0, "ab: rtt 200ms"),
        LinkChange(60, "ab", "b", "a", "change", slow, 0, "ab: rtt 200ms"),
    )


def test_what_held_before_holds_again_afterwards() -> None:
    assert played(event(at="10s", link="ab", set={"loss": "5%"}, lasts="5s")) == [
        (10, Impairment(0.01, loss=0.05)),
        (15, BASE),
    ]


def test_events_that_overlap_are_laid_over_one_another() -> None:
    assert played(
        event(at="10s", link="ab", set={"loss": "5%"}, lasts="20s"),
        event(at="15s", link="ab", set={"rtt": "200ms"}),
        event(at="20s", link="ab", set={"delay": "50ms"}, lasts="5s"),
    ) == [
        (10, Impairment(0.01, loss=0.05)),
        (15, Impairment(0.1, loss=0.05)),
        (20, Impairment(0.05, loss=0.05)),
        (25, Impairment(0.1, loss=0.05)),
        (30, Impairment(0.1)),
    ]


def test_one_direction_only() -> None:
    events = [event(at="1s", link="ab", set={"delay": "50ms"}, **{"from": "b"})]
    assert played(*events) == []
    assert played(*events, pair=("b", "a")) == [(1, Impairment(0.05))]


def test_a_site_is_all_its_links() -> None:
    changes = expand([event(at="1s", site="a", partition=True, lasts="2s")], LINKS, 100)
    assert [(c.at_s, c.source, c.target, c.action) for c in changes] == [
        (at_s, link.source, link.target, action) for at_s, action in ((1, "cut"), (3, "heal")) for link in LINKS
    ]
    isolated = expand([event(at="1s", site="c", partition=True)], LINKS, 100)
    assert {(c.source, c.target) for c in isolated} == {("a", "c"), ("c", "a")}


def test_a_ramp_goes_in_steps_from_what_holds_to_what_is_asked_for() -> None:
    steps = played(event(at="10s", link="ab", ramp={"delay": "50ms", "loss": "4%"}, over="4s", steps=4))
    assert [at_s for at_s, _ in steps] == [11, 12, 13, 14]
    assert [value.delay_s for _, value in steps] == pytest.approx([0.02, 0.03, 0.04, 0.05])
    assert [value.loss for _, value in steps] == pytest.approx([0.01, 0.02, 0.03, 0.04])


def test_every_change_says_what_it_is() -> None:
    events = [
        event(at="1s", link="ab", set={"rtt": "200ms", "loss": "1%"}, lasts="2s"),
        event(at="5s", link="ab", ramp={"rtt": "1s"}, over="1s"),
        event(at="7s", site="b", partition=True, lasts="1s", **{"from": "a"}),
        event(at="9s", link="ab", flap={"down": "1s", "up": "1s", "times": 1}),
    ]
    labels = [c.label for c in expand(events, LINKS, 100) if (c.source, c.target) == ("a", "b")]
    assert labels == [
        "ab: rtt 200ms, loss 1%",
        "ab: rtt 200ms, loss 1% ends",
        "ab: ramp to rtt 1s over 1s",
        "ab: ramp to rtt 1s over 1s",
        "site b from a: partition",
        "site b from a: partition ends",
        "ab: flap",
        "ab: flap ends",
    ]


def test_a_ramp_has_two_steps_a_second_and_returns_if_it_is_to() -> None:
    steps = played(event(at="10s", link="ab", ramp={"rtt": "100ms"}, over="3s", lasts="10s"))
    assert [at_s for at_s, _ in steps] == [10.5, 11, 11.5, 12, 12.5, 13, 20]
    assert steps[-2:] == [(13, Impairment(0.05)), (20, BASE)]


def test_a_flap() -> None:
    assert played(event(at="10s", link="ab", flap={"down": "2s", "up": "8s", "times": 3})) == [
        (10, "cut"),
        (12, "heal"),
        (20, "cut"),
        (22, "heal"),
        (30, "cut"),
        (32, "heal"),
    ]


def test_partitions_that_overlap_heal_when_the_last_one_ends() -> None:
    assert played(
        event(at="10s", link="ab", partition=True, lasts="10s"),
        event(at="15s", site="b", partition=True, lasts="10s"),
        event(at="17s", link="ab", set={"rtt": "1s"}),
    ) == [(10, "cut"), (17, Impairment(0.5)), (25, "heal")]


def test_repetition_until_the_load_ends_or_so_many_times() -> None:
    periodic = {"at": "5s", "link": "ab", "partition": True, "lasts": "5s", "every": "30s"}
    assert [at_s for at_s, _ in played(event(**periodic))] == [5, 10, 35, 40, 65, 70, 95, 100]
    assert [at_s for at_s, _ in played(event(**periodic), load_s=99)] == [5, 10, 35, 40, 65, 70]
    assert [at_s for at_s, _ in played(event(**periodic, times=2))] == [5, 10, 35, 40]


def test_what_stays_when_all_is_over() -> None:
    events = [
        event(at="1s", link="ab", set={"rtt": "200ms"}),
        event(at="2s", link="ab", partition=True, **{"from": "a"}),
        event(at="3s", link="ac", partition=True, lasts="1s"),
    ]
    links = after_all(LINKS, expand(events, LINKS, 100))
    assert [link.impairment for link in links] == [severed(Impairment(0.1)), Impairment(0.1), BASE, BASE]


@pytest.mark.parametrize(
    ("fields", "at", "says"),
    [
        ({"link": "abc", "partition": True}, (0, "link"), "no link 'abc'"),
        ({"site": "d", "partition": True}, (0, "site"), "no site 'd'"),
        ({"link": "ab", "partition": True, "from": "c"}, (0, "from"), "no direction of this link from 'c'"),
        ({"link": "ab", "partition": True, "at": "100s"}, (0, "at"), "when the load is over"),
        ({"link": "ab", "partition": True, "at": "95s", "for": "6s"}, (0,), "lasts until 101s"),
        ({"link": "ab", "ramp": {"rtt": "1s"}, "over": "6s", "at": "95s"}, (0,), "lasts until 101s"),
        ({"link": "ab", "partition": True, "for": "1s", "every": "50s", "times": 3}, (0,), "lasts until 102s"),
        ({"link": "ab", "flap": {"down": "1s", "up": "9s", "times": 11}}, (0,), "lasts until 102s"),
    ],
)
def test_what_does_not_fit_the_topology_or_the_load(fields: dict[str, Any], at: tuple[Any, ...], says: str) -> None:
    (fault,) = timeline_faults([LinkEvent.model_validate({"at": "1s", **fields})], LINKS, SITES, 100)
    assert fault.at == at
    assert says in fault.what


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"link": "ab"}, "one thing, this one nothing"),
        ({"link": "ab", "set": {"rtt": "1s"}, "partition": True}, "this one set and partition"),
        ({"partition": True}, "a link or to a site"),
        ({"link": "ab", "site": "a", "partition": True}, "a link or to a site"),
        ({"link": "ab", "set": {}}, "no value is changed"),
        ({"link": "ab", "set": {"loss": "101%"}}, "at most 100%"),
        ({"link": "ab", "set": {"rtt": "1s"}, "from": "a"}, "no round trip"),
        ({"link": "ab", "ramp": {"rtt": "1s"}}, "a ramp takes time"),
        ({"link": "ab", "ramp": {"burst_loss": {"mean": "1%", "length": 5}}, "over": "1s"}, "bursts are not reached"),
        ({"link": "ab", "set": {"rtt": "1s"}, "over": "1s"}, "only a ramp"),
        ({"link": "ab", "partition": True, "for": 0}, "lasts some time"),
        ({"link": "ab", "partition": True, "every": "5s"}, "for good cannot happen again"),
        ({"link": "ab", "partition": True, "for": "6s", "every": "5s"}, "begin again before it ends"),
        ({"link": "ab", "partition": True, "for": "6s", "times": 5}, "how far apart"),
        ({"link": "ab", "ramp": {"rtt": "1s"}, "over": "10s", "for": "5s"}, "ends before its ramp"),
        ({"link": "ab", "flap": {"down": 0, "up": "1s", "times": 1}}, "down for some time"),
        ({"link": "ab", "flap": {"down": "1s", "up": "1s", "times": 1}, "for": "5s"}, "as long as its times"),
        ({"link": "ab", "partition": True, "fo": "6s"}, "unknown key 'fo'"),
    ],
)
def test_what_an_event_cannot_say(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LinkEvent.model_validate({"at": "1s", **fields})


EVENTS = st.lists(
    st.builds(
        lambda at, link, action, lasts: event(
            at=f"{at}s", link=link, **action, **({"lasts": f"{lasts}s"} if lasts else {})
        ),
        at=st.integers(0, 60),
        link=st.sampled_from(["ab", "ac"]),
        action=st.sampled_from(
            [{"partition": True}, {"set": {"loss": "5%"}}, {"set": {"rtt": "90ms"}}, {"set": {"class": "lte"}}]
        ),
        lasts=st.none() | st.integers(1, 40),
    ),
    max_size=8,
)


@given(EVENTS)
def test_changes_are_in_order_real_and_undone_if_they_are_to_end(events: list[LinkEvent]) -> None:
    assert timeline_faults(events, LINKS, SITES, 101) == []
    changes = expand(events, LINKS, 101)
    assert all(earlier.at_s <= later.at_s for earlier, later in pairwise(changes))
    for link in LINKS:
        in_force, cut = link.impairment, False
        for change in changes:
            if (change.source, change.target) == (link.source, link.target):
                if change.impairment is not None:
                    assert change.impairment != in_force
                    in_force = change.impairment
                else:
                    assert cut is (change.action == "heal")
                    cut = change.action == "cut"
    if all(one.lasts for one in events):
        assert after_all(LINKS, changes) == LINKS


SCENARIO = """\
name: small
topology:
  name: two
  sites: [core, edge]
  links: {core-edge: {between: [core, edge], rtt: 20ms}}
systems:
  rabbitmq:
    bus: {kind: rabbitmq, at: core}
    stack: oslo-14.7.3-rabbit
workloads:
  call: {pattern: rpc-call, clients: {edge: 1}, servers: {core: 1}, rate: 10/s}
load: {warmup: 1s, duration: 5s}
timeline:
  - {at: 2s, link: core-edge, set: {rtt: 200ms}, for: 1s}
"""


def test_a_scenarios_timeline_is_planned_and_its_faults_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    changes = plan_run(load_scenario(path))[0].changes
    assert [(c.at_s, c.source, c.impairment and c.impairment.delay_s) for c in changes] == [
        (2, "core", 0.1),
        (2, "edge", 0.1),
        (3, "core", 0.01),
        (3, "edge", 0.01),
    ]
    for old, new, says in (
        ("link: core-edge,", "link: core-edg,", "timeline.0.link: there is no link 'core-edg'"),
        ("at: 2s", "at: 7s", "timeline.0.at: it happens at 7s, when the load is over"),
        ("for: 1s", "for: 9s", "timeline.0: it lasts until 11s, when the load is over"),
        ("rtt: 200ms}, for", "loss: 200%}, for", "timeline.0.set.loss: a percentage is at most 100%"),
    ):
        path.write_text(SCENARIO.replace(old, new))
        with pytest.raises(BadFile) as caught:
            plan_run(load_scenario(path))
        assert f"{path}:14: {says}" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "at", "says"),
    [
        ({"link": "ab", "set": {"queue": "1MiB"}}, (0, "set", "queue"), "needs a rate"),
        ({"link": "ab", "set": {"reorder": True}}, (0, "set", "reorder"), "nothing is reordered"),
        ({"link": "all", "set": {"distribution": "pareto"}}, (0, "set", "distribution"), "shape of the jitter"),
        ({"link": "ab", "ramp": {"rate": "1mbit"}, "over": "5s"}, (0, "ramp", "rate"), "step by step from none"),
        ({"link": "up", "set": {"rtt": "200ms"}}, (0, "set", "rtt"), "d -> a is one direction alone"),
        ({"site": "d", "ramp": {"rtt": "200ms"}, "over": "5s"}, (0, "ramp", "rtt"), "d -> a is one direction alone"),
    ],
)
def test_what_would_change_nothing_or_half_a_link(fields: dict[str, Any], at: tuple[Any, ...], says: str) -> None:
    links = (*LINKS, LinkPlan("up", "d", "a", BASE))
    (fault,) = timeline_faults([LinkEvent.model_validate({"at": "1s", **fields})], links, [*SITES, "d"], 100)
    assert fault.at == at
    assert says in fault.what


def test_what_is_in_force_by_then_counts() -> None:
    rated = event(at="1s", link="ab", set={"rate": "10mbit", "jitter": "1ms"}, lasts="20s")
    queue = event(at="5s", link="all", set={"queue": "1MiB", "reorder": True})
    ramp = event(at="5s", link="ab", ramp={"rate": "1mbit"}, over="5s")
    assert timeline_faults([rated, queue, ramp], LINKS, SITES, 100) == []
    assert timeline_faults([event(at="1s", link="ab", set={"queue": "1MiB", "rate": "1mbit"})], LINKS, SITES, 100) == []
    late = event(at="30s", link="ab", ramp={"rate": "1mbit"}, over="5s")
    assert [fault.at for fault in timeline_faults([rated, late], LINKS, SITES, 100)] == [(1, "ramp", "rate")]


def test_many_short_partitions_are_planned_at_once() -> None:
    often = event(at="0s", link="ab", partition=True, lasts="100us", every="20ms")
    began = time.process_time()
    assert timeline_faults([often], LINKS, SITES, 61) == []
    assert len(expand([often], LINKS, 61)) == 2 * 2 * 3050
    assert time.process_time() - began < 5  # it took twenty seconds


def test_more_changes_than_anyone_could_carry_out() -> None:
    often = event(at="0s", link="all", partition=True, lasts="100us", every="1ms")
    once = event(at="0s", link="ab", set={"rtt": "200ms"})
    (fault,) = timeline_faults([once, often], LINKS, SITES, 60)
    assert fault.at == (1,)
    assert fault.what == "the timeline changes links 480,002 times, 480,000 of them by this event"


def test_every_link_in_turn() -> None:
    (one,) = [event(at="10s", link="all", partition=True, lasts="5s", apart="20s")]
    changes = expand([one], LINKS, 100)
    assert [(c.at_s, c.link, c.action, c.label) for c in changes][::2] == [
        (10, "ab", "cut", "ab: partition"),
        (15, "ab", "heal", "ab: partition ends"),
        (30, "ac", "cut", "ac: partition"),
        (35, "ac", "heal", "ac: partition ends"),
    ]
    assert {c.at_s for c in expand([event(at="1s", link="all", partition=True)], LINKS, 100)} == {1}
    assert timeline_faults([event(at="80s", link="all", partition=True, lasts="5s", apart="20s")], LINKS, SITES, 100)
    with pytest.raises(ValidationError, match="one link only"):
        event(at="1s", link="ab", partition=True, apart="5s")
