"""The embedded router's pure parts: addresses, frames, link state."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bus.router.embedded.addresses import Place, distribution_of, place_of
from harness.bus.router.embedded.frames import (
    DIRECT,
    MULTICAST,
    UNICAST,
    Frame,
    decode_control,
    decode_data,
    encode_control,
    encode_data,
)
from harness.bus.router.embedded.linkstate import LinkState, Statement

# -- addresses --


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x/y", Place(None, "x/y")),
        ("/x/y", Place(None, "x/y")),
        ("amqp:/x/y", Place(None, "x/y")),
        ("amqp://host:5672/x/y", Place(None, "x/y")),
        ("amqp:/_topo/0/far/temp.1", Place("far", "temp.1")),
        ("_topo/0/far/$management", Place("far", "$management")),
        ("amqp:/_edge/rim/temp.1", Place("rim", "temp.1")),
        ("_local/x", Place("here", "x")),
        ("$management", Place("here", "$management")),
        ("_topo/0", Place(None, "_topo/0")),
    ],
)
def test_an_address_text_names_a_place(text: str, place: Place) -> None:
    assert place_of(text, "here") == place


def test_the_longest_prefix_that_ends_at_a_segment_decides() -> None:
    prefixes = {"a/b": "closest", "a/b/c": "multicast", "a": "balanced"}
    assert distribution_of("a/b/c/d", prefixes, "-") == "multicast"
    assert distribution_of("a/b/cd", prefixes, "-") == "closest"
    assert distribution_of("a/b.x", prefixes, "-") == "closest"
    assert distribution_of("a", prefixes, "-") == "balanced"
    assert distribution_of("ab", prefixes, "-") == "-"


# -- frames --


@given(
    st.sampled_from([UNICAST, MULTICAST, DIRECT]),
    st.integers(0, 64),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=10),
    st.binary(max_size=200),
)
def test_a_frame_is_read_as_written(
    kind: int, hops: int, address: str, origin: str, targets: list[str], message: bytes
) -> None:
    data = encode_data(kind, hops, address, origin, targets, message)
    assert decode_data(data) == Frame(kind, hops, address, origin, tuple(targets), message)


def test_control_frames_are_statements_or_refused() -> None:
    statement = {"say": "hello", "of": "a"}
    assert decode_control(encode_control(statement)) == statement
    for rubbish in (b"", b"\xff", b"[]", b"{}", b"1"):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever kind of rubbish
            decode_control(rubbish)


# -- link state --


class Network:
    """Databases joined by queues that keep order, as connections do; which queue moves next is drawn."""

    def __init__(self, edges: set[tuple[int, int]], count: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.nodes = {f"n{k}": LinkState(f"n{k}", 1) for k in range(count)}
        self.queues: dict[tuple[str, str], list[Statement]] = {}
        self.edges: set[tuple[str, str]] = set()
        for a, b in edges:
            self.join(f"n{a}", f"n{b}")

    def join(self, a: str, b: str) -> None:
        self.edges.add((a, b))
        for one, other in ((a, b), (b, a)):
            self.queues[one, other] = []
            self.queues[one, other] += self.nodes[one].everything()
        self.relink(a, b)

    def part(self, a: str, b: str) -> None:
        self.edges.discard((a, b))
        for pair in ((a, b), (b, a)):
            del self.queues[pair]
        self.relink(a, b)

    def relink(self, *names: str) -> None:
        for name in names:
            peers = {y if x == name else x for x, y in self.edges if name in (x, y)}
            self.flood(name, self.nodes[name].set_links(dict.fromkeys(peers, 1)))

    def flood(self, name: str, statement: Statement | None, but: str = "") -> None:
        if statement is not None:
            for (source, target), queue in self.queues.items():
                if source == name and target != but:
                    queue.append(statement)

    def settle(self) -> None:
        while any(self.queues.values()):
            source, target = self.random.choice([pair for pair, queue in self.queues.items() if queue])
            statement = self.queues[source, target].pop(0)
            if statement["say"] == "want":
                self.queues[target, source] += self.nodes[target].everything(statement["of"])
                continue
            applied = self.nodes[target].apply(statement)
            if applied.gap:
                self.queues[target, source].append({"say": "want", "of": statement["of"]})
            if applied.new:
                self.flood(target, statement, but=source)

    def distances(self, root: str) -> dict[str, int]:
        """By breadth-first search over the true edges."""
        found, todo = {root: 0}, [root]
        for name in todo:
            for a, b in self.edges:
                other = b if a == name else a if b == name else name
                if other not in found:
                    found[other] = found[name] + 1
                    todo.append(other)
        return found


@st.composite
def networks(draw: st.DrawFn) -> Network:
    count = draw(st.integers(2, 7))
    pairs = [(a, b) for a in range(count) for b in range(a)]
    return Network(draw(st.sets(st.sampled_from(pairs))), count, draw(st.integers(0, 1000)))


def walk(network: Network, source: str, target: str) -> Iterator[str]:
    here = source
    for _ in range(len(network.nodes)):
        if here == target:
            return
        here = network.nodes[here].routes()[target].next_hop
        yield here
    raise AssertionError(f"the way from {source} to {target} goes round")


@given(networks(), st.data())
def test_all_routers_come_to_know_the_graph_and_every_way_arrives(network: Network, data: st.DataObject) -> None:
    for name, node in network.nodes.items():
        network.flood(name, node.set_addresses({f"of-{name}", "shared"}))
    network.settle()
    for _ in range(data.draw(st.integers(0, 4))):
        a, b = sorted(data.draw(st.permutations(sorted(network.nodes)))[:2])
        there = next((pair for pair in network.edges if set(pair) == {a, b}), None)
        if there is not None:
            network.part(*there)
        else:
            network.join(a, b)
        changed = data.draw(st.sampled_from(sorted(network.nodes)))
        network.flood(changed, network.nodes[changed].set_addresses({f"of-{changed}"}))
        if data.draw(st.booleans()):
            network.settle()
    network.settle()
    for name, node in network.nodes.items():
        distances = network.distances(name)
        assert {router: route.cost for router, route in node.routes().items()} == {
            router: distance for router, distance in distances.items() if router != name
        }
        for router in node.routes():
            assert len(list(walk(network, name, router))) == distances[router]
            assert node.addresses_of(router) == network.nodes[router].addresses_of(router)


@given(networks())
def test_going_beyond_a_router_never_goes_back(network: Network) -> None:
    network.settle()
    for origin, node in network.nodes.items():
        distances = network.distances(origin)
        for here in distances:
            for target in distances:
                if network.nodes[here].beyond(origin, here, target) and target != here:
                    assert distances[target] > distances[here]
        assert not node.beyond(origin, origin, origin)


def test_an_edge_router_is_no_way_through() -> None:
    nodes = {name: LinkState(name, 1, edge=name == "rim") for name in ("a", "rim", "b")}
    nodes["a"].set_links({"rim": 0})
    nodes["rim"].set_links({"a": 0, "b": 0})
    nodes["b"].set_links({"rim": 0})
    for node in nodes.values():
        for other in nodes.values():
            for statement in other.everything():
                node.apply(statement)
    assert set(nodes["a"].routes()) == {"rim"}
    assert set(nodes["rim"].routes()) == {"a", "b"}


def test_a_router_that_starts_again_is_believed_and_its_past_forgotten() -> None:
    here, old, new = LinkState("here", 1), LinkState("x", 1), LinkState("x", 2)
    old.set_addresses({"before"})
    for statement in old.everything():
        here.apply(statement)
    new.set_addresses({"after"})
    applied = [here.apply(statement) for statement in new.everything()]
    assert here.addresses_of("x") == {"after"}
    assert frozenset().union(*(each.addresses for each in applied)) == {"before", "after"}
    assert not any(here.apply(statement).new for statement in old.everything())


def test_an_echo_from_a_clock_that_went_back_is_outnumbered() -> None:
    earlier, now = LinkState("x", 10), LinkState("x", 5)
    applied = [now.apply(statement) for statement in earlier.everything()]
    assert applied[0].gap
    other = LinkState("other", 1)
    for statement in earlier.everything():
        other.apply(statement)
    now.set_addresses({"mine"})
    for statement in now.everything():
        other.apply(statement)
    assert other.addresses_of("x") == {"mine"}
