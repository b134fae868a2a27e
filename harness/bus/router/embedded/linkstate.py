"""Which routers there are, who is joined to whom, who has receivers for which address, and the shortest paths.

Pure: no clock, no I/O. Every router floods two kinds of statements about itself, each numbered: its links (neighbour
and cost) and its addresses (the whole set once, then changes). Statements travel over connections that keep order,
and each router passes on only what is new to it, so every router sees an origin's statements in their order; a gap
can only appear when two parts of the mesh meet again, and then each sends the other all it knows.

The shortest paths are Dijkstra's; among equals the least name wins, so that all routers agree. An edge router is
never a way to somewhere else.
"""

from __future__ import annotations

import heapq
from typing import Any, Dict, Iterable, NamedTuple

__all__ = ["Applied", "LinkState", "Route"]

Statement = Dict[str, Any]


class Route(NamedTuple):
    """The way to a router: total cost and the neighbour to hand messages to."""

    cost: int
    next_hop: str


class Applied(NamedTuple):
    """What a statement did: whether to pass it on, what it changed, and whether something before it is missing."""

    new: bool = False
    topology: bool = False
    addresses: frozenset[str] = frozenset()
    gap: bool = False


class _Origin:
    """What is known of one router."""

    def __init__(self) -> None:
        self.instance = -1
        self.links_number = -1
        self.edge = False
        self.links: dict[str, int] = {}
        self.addresses_number = -1
        self.addresses: set[str] = set()


class LinkState:
    """The database of one router.

    Args:
        me: this router's id.
        instance: a number larger than at any earlier start of this router.
        edge: whether this router is an edge router.
    """

    def __init__(self, me: str, instance: int, edge: bool = False) -> None:
        self.me = me
        self._origins: dict[str, _Origin] = {me: _Origin()}
        self._own = self._origins[me]
        self._own.instance = instance
        self._own.edge = edge
        self._own.links_number = 0
        self._own.addresses_number = 0
        self._trees: dict[str, dict[str, Route]] = {}

    # -- statements of this router --

    def set_links(self, links: dict[str, int]) -> Statement | None:
        """This router's neighbours and their costs are now these. Returns the statement to flood, None if as before."""
        if links == self._own.links:
            return None
        self._own.links = dict(links)
        self._own.links_number += 1
        self._trees.clear()
        return self._links_of(self.me)

    def set_addresses(self, addresses: set[str]) -> Statement | None:
        """This router has receivers for these addresses. Returns the change to flood, None if as before."""
        added, removed = addresses - self._own.addresses, self._own.addresses - addresses
        if not added and not removed:
            return None
        self._own.addresses = set(addresses)
        self._own.addresses_number += 1
        return {
            "say": "change", "of": self.me, "instance": self._own.instance, "number": self._own.addresses_number,
            "add": sorted(added), "remove": sorted(removed),
        }  # fmt: skip

    def everything(self, of: str | None = None) -> list[Statement]:
        """Statements that tell a router which knows nothing all there is to know (of one origin, or of all)."""
        statements: list[Statement] = []
        for name in sorted(self._origins) if of is None else [of]:
            origin = self._origins.get(name)
            if origin is None:
                continue
            if origin.links_number >= 0:
                statements.append(self._links_of(name))
            if origin.addresses_number >= 0:
                statements.append(
                    {
                        "say": "addresses", "of": name, "instance": origin.instance,
                        "number": origin.addresses_number, "all": sorted(origin.addresses),
                    }
                )  # fmt: skip
        return statements

    def _links_of(self, name: str) -> Statement:
        origin = self._origins[name]
        return {
            "say": "links", "of": name, "instance": origin.instance, "number": origin.links_number,
            "edge": origin.edge, "links": origin.links,
        }  # fmt: skip

    # -- statements of others --

    def apply(self, statement: Statement) -> Applied:
        """Take in a statement heard from a neighbour."""
        name, instance, number = statement["of"], statement["instance"], statement["number"]
        if name == self.me:
            return self._apply_own(instance)
        origin = self._origins.setdefault(name, _Origin())
        if instance < origin.instance:
            return Applied()
        forgotten: frozenset[str] = frozenset()
        if instance > origin.instance:
            forgotten = frozenset(origin.addresses)
            self._origins[name] = origin = _Origin()
            origin.instance = instance
        applied = self._apply_links(origin, statement) if statement["say"] == "links" else Applied()
        if statement["say"] == "addresses" and number > origin.addresses_number:
            said = set(statement["all"])
            applied = Applied(new=True, addresses=frozenset(said ^ origin.addresses))
            origin.addresses, origin.addresses_number = said, number
        elif statement["say"] == "change" and number > origin.addresses_number:
            if origin.addresses_number < 0 or number != origin.addresses_number + 1:
                applied = Applied(gap=True)
            else:
                origin.addresses.update(statement["add"])
                origin.addresses.difference_update(statement["remove"])
                origin.addresses_number = number
                applied = Applied(new=True, addresses=frozenset(statement["add"]) | frozenset(statement["remove"]))
        if forgotten:
            applied = applied._replace(addresses=applied.addresses | forgotten)
        return applied

    def _apply_own(self, instance: int) -> Applied:
        # An echo of an earlier start of ours that was numbered higher (the clock went back): outnumber it.
        if instance > self._own.instance:
            self._own.instance = instance + 1
            return Applied(gap=True)
        return Applied()

    def _apply_links(self, origin: _Origin, statement: Statement) -> Applied:
        if statement["number"] <= origin.links_number:
            return Applied()
        origin.links_number = statement["number"]
        links = {str(name): int(cost) for name, cost in statement["links"].items()}
        changed = links != origin.links or bool(statement["edge"]) != origin.edge
        origin.links, origin.edge = links, bool(statement["edge"])
        if changed:
            self._trees.clear()
        return Applied(new=True, topology=changed)

    def forget(self, names: Iterable[str]) -> None:
        """Drop what is known of routers that have been out of reach for long."""
        for name in names:
            if name != self.me:
                self._origins.pop(name, None)
        self._trees.clear()

    # -- answers --

    def known(self) -> list[str]:
        """Every router heard of, in reach or not."""
        return sorted(self._origins)

    def is_edge(self, name: str) -> bool:
        """Whether that router is an edge router."""
        origin = self._origins.get(name)
        return origin is not None and origin.edge

    def links_of(self, name: str) -> dict[str, int]:
        """Neighbours and costs that router claims."""
        origin = self._origins.get(name)
        return dict(origin.links) if origin is not None else {}

    def instance_of(self, name: str) -> int:
        """The start that router's statements are from."""
        origin = self._origins.get(name)
        return origin.instance if origin is not None else -1

    def addresses_of(self, name: str) -> set[str]:
        """Addresses that router claims receivers for."""
        origin = self._origins.get(name)
        return origin.addresses if origin is not None else set()

    def routes(self) -> dict[str, Route]:
        """The way from here to every router in reach but this one."""
        return self.tree(self.me)

    def tree(self, root: str) -> dict[str, Route]:
        """The shortest paths from `root` to every router it reaches; both ends of a link must claim it."""
        if root not in self._trees:
            self._trees[root] = self._dijkstra(root)
        return self._trees[root]

    def beyond(self, origin: str, here: str, target: str) -> bool:
        """Whether `here` lies on a shortest way from `origin` to `target`, so that going on cannot go round."""
        tree = self.tree(origin)
        onward = self.tree(here).get(target)
        if onward is None or target == origin or target not in tree:
            return False
        so_far = 0 if here == origin else tree[here].cost if here in tree else None
        return so_far is not None and so_far + onward.cost == tree[target].cost

    def _dijkstra(self, root: str) -> dict[str, Route]:
        best: dict[str, Route] = {}
        todo: list[tuple[int, str, str]] = [(0, "", root)]
        while todo:
            cost, first, name = heapq.heappop(todo)
            if name in best or (name == root and first):
                continue
            if name != root:
                best[name] = Route(cost, first)
            origin = self._origins.get(name)
            if origin is None or (origin.edge and name != root):
                continue
            for neighbour, step in origin.links.items():
                there = self._origins.get(neighbour)
                if neighbour != root and neighbour not in best and there is not None and name in there.links:
                    heapq.heappush(todo, (cost + step, first or neighbour, neighbour))
        return best
