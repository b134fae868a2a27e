"""A topology: the sites, and the links between them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from itertools import combinations, islice
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from harness.model.faults import Fault, refuse, unknown_name
from harness.model.frozen import NAMES, NULL, AlsoWritten, Frozen, Name, Real
from harness.model.link_spec import LinkDefaults, LinkSpec
from harness.model.links import Impairment
from harness.model.subnets import free_subnets, is_private
from harness.model.timeline import ALL_LINKS

__all__ = ["Location", "Site", "Topology", "mesh_name"]


class Location(Frozen):
    """Where a site stands on the Earth; links without a declared delay get one from the distance."""

    latitude: Real = Field(ge=-90, le=90, description="degrees north")
    longitude: Real = Field(ge=-180, le=180, description="degrees east")


class Site(Frozen):
    """A place: one network segment. Nodes at one site see each other at LAN speed."""

    location: Location | None = Field(default=None, description="where the site stands on the Earth")
    subnet: str | None = Field(default=None, description="IPv4 network of the site, /24 or larger; default: chosen")

    @field_validator("subnet")
    @classmethod
    def _check_subnet(cls, value: str | None) -> str | None:
        if value is None:
            return None
        network = ipaddress.IPv4Network(value)
        if network.prefixlen > 24:
            raise ValueError(f"{value} is too small for a site; a network of /24 or larger")
        if not is_private(network):
            raise ValueError(f"{value} is not a private network; one below 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
        return str(network)


def mesh_name(first: str, second: str) -> str:
    """What a link of the mesh is called in timelines and reports."""
    return f"{first}-{second}"


class Topology(Frozen):
    """Sites and links. A pair of sites without a link exchanges nothing."""

    name: Name = Field(description="name of the topology")
    title: str = Field(default="", description="one line for people")
    sites: Annotated[dict[Name, Annotated[Site, AlsoWritten((NULL,))]], AlsoWritten((NAMES,))] = Field(
        min_length=1, max_length=64, description="the sites, by name"
    )
    links: dict[Name, LinkSpec] = Field(default_factory=dict, description="the links, by name")
    defaults: LinkDefaults = Field(
        default_factory=LinkDefaults, description="what every link, and every pair without one, starts from"
    )

    @field_validator("sites", mode="before")
    @classmethod
    def _bare_sites(cls, value: object) -> object:
        """`edge-a:` with nothing behind it is a site with defaults; a list of names is as good as a mapping."""
        if isinstance(value, list):
            twice = [index for index, name in enumerate(value) if name in value[:index]]
            if twice:
                raise refuse(*(Fault((i,), f"site {value[i]!r} is named twice", "each once") for i in twice))
            return {str(name): {} for name in value}
        if isinstance(value, dict):
            return {name: {} if site is None else site for name, site in value.items()}
        return value

    @model_validator(mode="after")
    def _check_references(self) -> Topology:
        faults: list[Fault] = []
        taken: dict[tuple[str, str], str] = {}
        for name, link in self.links.items():
            for at, site in link.endpoints():
                if site not in self.sites:
                    faults.append(unknown_name(("links", name, *at), "site", site, list(self.sites)))
            twice = [pair for pair in link.directions() if pair in taken]
            if twice:
                (source, target), *more = twice
                way = f"{source} <-> {target}" if more else f"{source} -> {target}"
                faults.append(
                    Fault(
                        ("links", name),
                        f"{way} is already described by link {taken[twice[0]]!r}",
                        "one link for each direction of a pair of sites",
                    )
                )
            taken.update(dict.fromkeys(link.directions(), name))
        if not faults:
            faults.extend(self._impossible_links())
        faults.extend(self._ambiguous_names(set(taken)))
        faults.extend(self._overlaps())
        if faults:
            raise refuse(*faults)
        return self

    def _impossible_links(self) -> Iterator[Fault]:
        """Links whose values do not go together, or that have no delay."""
        for name, link in self.links.items():
            located = all(self.sites[site].location for _, site in link.endpoints())
            if not (link.says_delay or self.defaults.says_delay or located):
                yield Fault(
                    ("links", name), "this link has no delay", "rtt, delay or class, or a location for both its sites"
                )
            whole = link.over(self.defaults.over(Impairment()))
            if whole.reorder and not whole.jitter_s:
                yield Fault(("links", name), "without jitter nothing is reordered", "jitter: 5ms beside reorder: true")
            if whole.queue_bytes is not None and whole.rate_bps is None:
                yield Fault(("links", name), "a queue needs a rate to wait for", "rate: 100mbit beside queue")
        if (
            self.defaults.mesh
            and not self.defaults.says_delay
            and not all(site.location for site in self.sites.values())
        ):
            yield Fault(
                ("defaults", "mesh"), "the links of the mesh have no delay", "rtt, or a location for every site"
            )

    def _ambiguous_names(self, described: set[tuple[str, str]]) -> Iterator[Fault]:
        """Names by which an event could not mean one link alone."""
        if ALL_LINKS in self.links:
            yield Fault(("links", ALL_LINKS), f"in a timeline {ALL_LINKS!r} means every link", "another name")
        if not self.defaults.mesh:
            return
        names: dict[str, tuple[str, str]] = {}
        for pair in combinations(self.sites, 2):
            if pair in described and pair[::-1] in described:
                continue
            name, between = mesh_name(*pair), " and ".join(pair)
            if name in self.links and set(self.links[name].directions()[0]) != set(pair):
                yield Fault(("links", name), f"the mesh calls the link between {between} {name!r}, too", "another name")
            elif name in names:
                other = " and ".join(names[name])
                what = f"the mesh calls the links between {other} and between {between} both {name!r}"
                yield Fault(("sites", pair[1]), what, "sites whose names joined by a hyphen differ")
            names.setdefault(name, pair)

    def _overlaps(self) -> list[Fault]:
        declared = [(name, ipaddress.IPv4Network(site.subnet)) for name, site in self.sites.items() if site.subnet]
        others = [name for name, site in self.sites.items() if not site.subnet]
        left = len(list(islice(free_subnets(network for _, network in declared), len(others))))
        without = [
            Fault(("sites", name), "the declared subnets leave no network for this site", "a subnet, or smaller ones")
            for name in others[left:]
        ]
        return without + [
            Fault(("sites", b, "subnet"), f"{second} overlaps {first} of site {a!r}", "networks that do not overlap")
            for (a, first), (b, second) in combinations(declared, 2)
            if first.overlaps(second)
        ]
