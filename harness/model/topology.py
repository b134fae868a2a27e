"""A topology: the sites, and the links between them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from itertools import combinations
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from harness.model.faults import Fault, refuse, unknown_name
from harness.model.frozen import NAMES, NULL, AlsoWritten, Frozen, Name, Real
from harness.model.link_spec import LinkDefaults, LinkSpec
from harness.model.links import Impairment

__all__ = ["Location", "Site", "Topology"]


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
        if not network.is_private:
            raise ValueError(f"{value} is not a private network; one below 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
        return str(network)


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
            doubled = [(index, name) for index, name in enumerate(value) if name in value[:index]]
            if doubled:
                raise refuse(
                    *(Fault((index,), f"site {name!r} is named twice", "each once") for index, name in doubled)
                )
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
            for pair in link.directions():
                if pair in taken:
                    faults.append(
                        Fault(
                            ("links", name),
                            f"{pair[0]} -> {pair[1]} is already described by link {taken[pair]!r}",
                            "one link for each direction of a pair of sites",
                        )
                    )
                taken[pair] = name
        if not faults:
            faults.extend(self._impossible_links())
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

    def _overlaps(self) -> list[Fault]:
        declared = [(name, ipaddress.IPv4Network(site.subnet)) for name, site in self.sites.items() if site.subnet]
        return [
            Fault(("sites", b, "subnet"), f"{second} overlaps {first} of site {a!r}", "networks that do not overlap")
            for (a, first), (b, second) in combinations(declared, 2)
            if first.overlaps(second)
        ]
