"""Links as a topology file says them: precedence, classes, places, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BadFile
from harness.links.expectation import mean_loss
from harness.model.document import parse_document, validate
from harness.model.geography import FIBRE_KM_PER_S, fibre_delay_s, great_circle_km
from harness.model.link_classes import LINK_CLASSES
from harness.model.link_spec import BurstLoss
from harness.model.links import GilbertElliott, Impairment, effective, severed
from harness.model.timeline import LinkEvent
from harness.model.topology import Topology
from harness.plan.cell import LinkPlan
from harness.plan.links import directed_links


def links_of(text: str) -> dict[tuple[str, str], LinkPlan]:
    document = parse_document(f"name: t\nsites: [a, b, c]\n{text}", "t.yaml")
    return {(plan.source, plan.target): plan for plan in directed_links(validate(document, Topology))}


def refusal(text: str) -> str:
    with pytest.raises(BadFile) as caught:
        links_of(text)
    return str(caught.value)


def test_a_round_trip_is_applied_half_each_way() -> None:
    links = links_of("links:\n  ab: {between: [a, b], rtt: 80ms}")
    assert links == {
        ("a", "b"): LinkPlan("ab", "a", "b", Impairment(delay_s=0.04)),
        ("b", "a"): LinkPlan("ab", "b", "a", Impairment(delay_s=0.04)),
    }


def test_every_value_a_link_can_have() -> None:
    links = links_of(
        "links:\n  ab: {between: [a, b], delay: 10ms, jitter: 2ms, distribution: pareto, reorder: true,"
        " burst_loss: {p: 1%, r: 25%, loss_bad: 90%, loss_good: 0.1%}, duplicate: 0.2%, corrupt: 0.3%,"
        " rate: 10mbit, queue: 64KiB}"
    )
    impairment = links["b", "a"].impairment
    assert impairment.burst_loss is not None
    assert impairment == Impairment(
        delay_s=0.01,
        jitter_s=0.002,
        jitter_distribution="pareto",
        reorder=True,
        burst_loss=impairment.burst_loss,
        duplicate=0.002,
        corrupt=0.003,
        rate_bps=10e6,
        queue_bytes=65536,
    )
    assert impairment.burst_loss == GilbertElliott(0.01, 0.25, 0.9, 0.001)


def test_two_directions_may_differ() -> None:
    links = links_of("links:\n  up: {from: a, to: b, delay: 10ms}\n  down: {from: b, to: a, delay: 30ms}")
    assert links["a", "b"] == LinkPlan("up", "a", "b", Impairment(delay_s=0.01))
    assert links["b", "a"] == LinkPlan("down", "b", "a", Impairment(delay_s=0.03))


def test_what_the_link_says_overrides_its_class_and_that_the_defaults() -> None:
    links = links_of(
        "defaults: {rtt: 10ms, loss: 1%, jitter: 1ms}\n"
        "links:\n"
        "  ab: {between: [a, b]}\n"
        "  ac: {between: [a, c], class: lte}\n"
        "  bc: {between: [b, c], class: lte, rtt: 70ms, burst_loss: {mean: 2%, length: 4}}\n"
    )
    assert links["a", "b"].impairment == Impairment(delay_s=0.005, loss=0.01, jitter_s=0.001)
    lte = LINK_CLASSES["lte"]
    assert links["a", "c"].impairment == Impairment(
        delay_s=lte.rtt_s / 2, loss=0.01, jitter_s=0.001, rate_bps=lte.rate_bps
    )
    third = links["b", "c"].impairment
    assert third.delay_s == 0.035
    assert third.loss == 0
    assert third.burst_loss == BurstLoss.model_validate({"mean": "2%", "length": 4}).chain()


def test_a_place_gives_a_delay_unless_the_link_says_one() -> None:
    text = (
        "name: t\nsites:\n"
        "  london: {location: {latitude: 51.5074, longitude: -0.1278}}\n"
        "  new-york: {location: {latitude: 40.7128, longitude: -74.0060}}\n"
        "  moon:\n"
        "defaults: {mesh: true, rtt: 3s, path_factor: 1.2}\n"
        "links:\n  up: {from: new-york, to: london, delay: 44ms}\n"
    )
    topology = validate(parse_document(text, "t.yaml"), Topology)
    links = {(plan.source, plan.target): plan.impairment.delay_s for plan in directed_links(topology)}
    assert len(links) == 6
    assert links["london", "new-york"] == pytest.approx(5570 * 1.2 / FIBRE_KM_PER_S, rel=0.001)
    assert links["new-york", "london"] == 0.044
    assert links["london", "moon"] == links["moon", "new-york"] == 1.5


def test_no_link_means_no_traffic_unless_a_mesh_is_asked_for() -> None:
    assert set(links_of("links:\n  ab: {between: [a, b], rtt: 1ms}")) == {("a", "b"), ("b", "a")}
    assert len(links_of("defaults: {mesh: true, class: metro}")) == 6


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("links:\n  ab: {between: [a, a], rtt: 1ms}", 4, "from 'a' to itself"),
        ("links:\n  ab: {from: a, to: a, delay: 1ms}", 4, "from 'a' to itself"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, loss: 120%}", 4, "at most 100%"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, loss: 1}", 4, "has no unit"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, los: 1%}", 4, "did you mean: loss"),
        ("links:\n  ab: {between: [a, b], class: metr}", 4, "did you mean: metro"),
        ("links:\n  ab: {between: [a, d], rtt: 1ms}", 4, "no site 'd'"),
        ("links:\n  ab: {between: [a, b]}", 4, "no delay"),
        ("links:\n  ab: {between: [a, b], from: a, rtt: 1ms}", 4, "either two ends or a direction"),
        ("links:\n  ab: {from: a, delay: 1ms}", 4, "a link needs its ends"),
        ("links:\n  ab: {from: a, to: b, rtt: 1ms}", 4, "no round trip"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, delay: 1ms}", 4, "rtt and delay"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, loss: 1%, burst_loss: {mean: 1%, length: 2}}", 4, "two ways"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, reorder: true}", 4, "without jitter"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, queue: 64KiB}", 4, "a queue needs a rate"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, rate: 5bit}", 4, "at least 1kbit"),
        ("links:\n  ab: {between: [a, b], rtt: 1ms, rate: 100gbit}", 4, "at most 40gbit"),
        ("links:\n  ab: {between: [a, b], rtt: 300s}", 4, "at most 60s"),
        ("links:\n  ab:\n    between: [a, b]\n    rtt: 1ms\n    burst_loss: {p: 1%}", 7, "p and r, or by mean"),
        (
            "links:\n  ab:\n    between: [a, b]\n    rtt: 1ms\n    burst_loss: {mean: 90%, length: 1}",
            7,
            "longer bursts",
        ),
        ("links:\n  x: {between: [a, b], rtt: 1ms}\n  y: {from: b, to: a, delay: 1ms}", 5, "already described"),
        ("defaults: {mesh: true}", 3, "the mesh have no delay"),
        ("links:\n  all: {between: [a, b], rtt: 1ms}", 4, "'all' means every link"),
        (
            "defaults: {mesh: true, rtt: 1ms}\nlinks:\n  a-c: {between: [a, b]}",
            5,
            "the mesh calls the link between a and c 'a-c', too",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, part: str) -> None:
    message = refusal(text)
    assert part in message
    assert message.startswith(f"t.yaml:{line}:")


def test_a_pair_described_twice_is_told_once() -> None:
    message = refusal("links:\n  x: {between: [a, b], rtt: 1ms}\n  y: {between: [b, a], rtt: 1ms}")
    assert message.count("already described by link 'x'") == 1
    assert "b <-> a" in message


def test_a_link_may_have_the_name_the_mesh_would_give_it() -> None:
    links = links_of("defaults: {mesh: true, rtt: 1ms}\nlinks:\n  a-b: {from: a, to: b, delay: 9ms}")
    assert {plan.name for pair, plan in links.items() if set(pair) == {"a", "b"}} == {"a-b"}


def sites_refusal(sites: str, rest: str = "") -> str:
    with pytest.raises(BadFile) as caught:
        validate(parse_document(f"name: t\nsites: {sites}\n{rest}", "t.yaml"), Topology)
    return str(caught.value)


def test_sites_whose_names_joined_are_alike() -> None:
    message = sites_refusal("[a-b, c, a, b-c]", "defaults: {mesh: true, rtt: 1ms}")
    assert "links between a-b and c and between a and b-c both 'a-b-c'" in message


def test_a_site_is_listed_once() -> None:
    assert "t.yaml:2: sites.1: site 'core' is named twice" in sites_refusal("[core, core]")


@pytest.mark.parametrize("subnet", ["127.0.0.0/16", "169.254.0.0/16", "240.0.0.0/16", "8.0.0.0/16", "172.0.0.0/8"])
def test_subnets_are_those_of_rfc_1918(subnet: str) -> None:
    assert f"{subnet} is not a private network" in sites_refusal(f"{{a: {{subnet: {subnet}}}}}")


def test_declared_subnets_leave_none_for_the_others() -> None:
    whole = "{a: {subnet: 10.0.0.0/8}, b: {subnet: 172.16.0.0/12}, c: {subnet: 192.168.0.0/16}, d: {}}"
    assert "sites.d: the declared subnets leave no network for this site" in sites_refusal(whole)


@given(mean=st.floats(0.0001, 0.45), length=st.floats(1.0, 200.0))
def test_burst_loss_by_effect_has_that_mean_and_length(mean: float, length: float) -> None:
    chain = BurstLoss.model_validate({"mean": f"{mean * 100}%", "length": length}).chain()
    assert mean_loss(Impairment(burst_loss=chain)) == pytest.approx(mean)
    assert 1 / chain.r == pytest.approx(length)
    assert 0 <= chain.p <= 1


@given(
    a=st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    b=st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
)
def test_great_circles(a: tuple[float, float], b: tuple[float, float]) -> None:
    distance = great_circle_km(*a, *b)
    assert 0 <= distance <= math.pi * 6371.0088 + 1e-6
    assert distance == pytest.approx(great_circle_km(*b, *a), abs=1e-6)
    assert great_circle_km(*a, *a) == pytest.approx(0, abs=1e-6)


def test_known_distances() -> None:
    assert great_circle_km(48.8566, 2.3522, 35.6762, 139.6503) == pytest.approx(9712, rel=0.002)
    assert fibre_delay_s(1000, 1.0) == pytest.approx(0.0049, rel=0.002)


def test_link_classes_are_in_order_of_distance_and_sourced() -> None:
    by_distance = ["metro", "continental", "intercontinental", "satellite"]
    assert [LINK_CLASSES[name].rtt_s for name in by_distance] == sorted(
        LINK_CLASSES[name].rtt_s for name in by_distance
    )
    assert set(LINK_CLASSES) == {*by_distance, "lte"}
    assert all(kind.source for kind in LINK_CLASSES.values())


def test_effective_spells_out_the_queue_of_a_rate() -> None:
    assert effective(Impairment(rate_bps=100e6)).queue_bytes == 1_250_000
    assert effective(Impairment(rate_bps=1e6)).queue_bytes == 65536
    assert effective(Impairment(rate_bps=1e6, queue_bytes=5000)).queue_bytes == 5000
    assert effective(Impairment(queue_bytes=5000)).queue_bytes is None


def test_a_severed_direction_loses_everything() -> None:
    assert mean_loss(severed(Impairment(burst_loss=GilbertElliott(0.1, 0.2)))) == 1


@pytest.mark.parametrize(
    "path", sorted(Path(__file__, "../../../topologies").resolve().glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_topologies(path: Path) -> None:
    topology = validate(parse_document(path.read_text(), str(path)), Topology)
    links = directed_links(topology)
    assert topology.name == path.stem
    assert links
    assert {(link.target, link.source) for link in links} == {(link.source, link.target) for link in links}


def test_the_world_is_as_far_as_it_should_be() -> None:
    path = Path(__file__, "../../../topologies/world.yaml").resolve()
    topology = validate(parse_document(path.read_text(), str(path)), Topology)
    rtt_s = {(link.source, link.target): 2 * link.impairment.delay_s for link in directed_links(topology)}
    assert len(rtt_s) == 42
    assert rtt_s["paris", "new-york"] == pytest.approx(0.086, abs=0.002)
    assert rtt_s["paris", "sydney"] == pytest.approx(0.249, abs=0.003)


def test_the_examples_in_the_documentation_are_good() -> None:
    text = Path(__file__, "../../../topologies/README.md").resolve().read_text()
    topology, timeline = (parse_document(block.split("```")[0], "README.md") for block in text.split("```yaml\n")[1:])
    assert directed_links(validate(topology, Topology))
    for event in timeline.data["timeline"]:
        LinkEvent.model_validate(event)
