"""The netem backend against a gateway that only remembers: what it does when a part of its trees is gone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from harness.errors import LabFailure, LinkFailure
from harness.links.netem import NetemShaper, _networks
from harness.model.links import Impairment
from harness.plan.cell import LinkPlan
from harness.runtime.protocol import Completed, Runtime

LINKS = [LinkPlan("ab", "a", "b", Impairment(0.01)), LinkPlan("ab", "b", "a", Impairment(0.01, loss=0.1))]
ADDRESSES = [
    {
        "ifname": f"site-{site}",
        "mtu": 1500,
        "addr_info": [{"local": f"10.0.{number}.1", "prefixlen": 24, "scope": "global"}],
    }
    for number, site in enumerate("ab", start=1)
]


class Gateway:
    """Answers tc as a kernel with netem would; `gone` are (device, handle) that are not there any more."""

    name = "local"

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.gone: set[tuple[str, str]] = set()
        self.drops: dict[tuple[str, str], int] = {}
        self.filters = True

    def interface(self, site: str) -> str:
        return f"site-{site}"

    def put(self, node: str, path: Path, name: str) -> str:
        return f"/{name}"

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        text = input.decode()
        self.ran.append((argv[0], text))
        if argv[0] == "ip" and "-j" in argv:
            return Completed(0, json.dumps(ADDRESSES), "")
        if argv[0] == "tc" and "-j" in argv:
            return Completed(0, "".join(json.dumps(self._listed(line)) + "\n" for line in text.splitlines()), "")
        return Completed(0, "", "")

    def _listed(self, line: str) -> list[dict[str, Any]]:
        if line.startswith("filter"):
            device = "link1" if "site-a" in line else "link2"
            action = {"kind": "mirred", "mirred_action": "redirect", "to_dev": device}
            return [{"protocol": "ip", "options": {"actions": [action]}}] if self.filters else []
        parts = [
            (device, handle, kind)
            for device in ("link1", "link2")
            for handle, kind in (("1:", "tbf"), ("2:", "netem"), ("3:", "tbf"))
        ]
        parts += [(f"site-{site}", "ffff:", "ingress") for site in "ab"]
        return [
            {
                "dev": device,
                "handle": handle,
                "kind": kind,
                "packets": 100,
                "qlen": 0,
                "drops": self.drops.get((device, handle), 0),
                "options": {"rate": 12_500_000_000, "burst": 65536, "lat": 85},
            }
            for device, handle, kind in parts
            if (device, handle) not in self.gone
        ]

    @property
    def refused(self) -> bool:
        """Whether nothing crosses by what was last said to the firewall."""
        rules = [text for program, text in self.ran if program == "iptables-restore"]
        return "ACCEPT" not in rules[-1]


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def shaper(gateway: Gateway) -> NetemShaper:
    made = NetemShaper()
    made.apply(cast("Runtime", gateway), LINKS)
    made.check()
    assert not gateway.refused
    return made


@pytest.mark.parametrize(
    ("device", "handle"),
    [("link1", "1:"), ("link1", "2:"), ("link2", "3:"), ("site-b", "ffff:"), ("site-a", "filters")],
)
def test_traffic_is_refused_for_good_once_a_part_is_gone(
    shaper: NetemShaper, gateway: Gateway, device: str, handle: str
) -> None:
    gateway.gone.add((device, handle))
    gateway.filters = handle != "filters"
    with pytest.raises(LinkFailure, match=f"not shaped any more: {device}"):
        shaper.check()
    assert gateway.refused
    for act in (shaper.cut, shaper.heal):
        with pytest.raises(LinkFailure, match="not shaped any more"):
            act("a", "b")
    assert gateway.refused
    shaper.close()


def test_a_device_that_is_gone_is_said_by_what_reads_it(shaper: NetemShaper, gateway: Gateway) -> None:
    gateway.gone = {("link1", handle) for handle in ("1:", "2:", "3:")}
    with pytest.raises(LinkFailure, match="link1"):
        shaper.evidence()
    with pytest.raises(LinkFailure, match="link1"):
        shaper.read_back()


def test_drops_nobody_declared_make_the_evidence_invalid(shaper: NetemShaper, gateway: Gateway) -> None:
    gateway.drops = {("link2", "2:"): 7, ("link1", "2:"): 2, ("link1", "3:"): 2}
    assert shaper.evidence()["valid"]
    assert [(link["lost"], link["tail_dropped"]) for link in shaper.evidence()["links"]] == [(0, 2), (7, 0)]
    gateway.drops["link1", "2:"] = 5
    evidence = shaper.evidence()
    assert not evidence["valid"]
    assert evidence["why"] == ["netem dropped 3 packets from a to b, where no loss is declared"]


def test_a_cut_drops_what_is_under_way_and_counters_go_on(shaper: NetemShaper, gateway: Gateway) -> None:
    gateway.drops = {("link2", "2:"): 7}
    before = len(gateway.ran)
    shaper.cut("b", "a")
    programs = [program for program, _ in gateway.ran[before:]]
    assert programs == ["iptables-restore", "ip6tables-restore", "tc", "tc"]  # refused, counted, flushed
    flushed = gateway.ran[-1][1].splitlines()
    assert flushed[0] == "qdisc del dev link2 parent 1:1 handle 2:"
    assert "loss random 100%" in flushed[1]
    gateway.drops = {("link2", "2:"): 1}
    assert shaper.evidence()["links"][1]["lost"] == 8
    shaper.heal("b", "a")
    assert gateway.ran[-3][1].startswith("qdisc change dev link2 parent 1:1 handle 2: netem")
    shaper.check()


def test_a_gateway_without_tc_is_unavailable_and_says_so(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_tc(node: str, argv: Sequence[str], **more: Any) -> Completed:
        if argv[0] == "tc":
            raise LabFailure("there is no program tc")
        return Completed(0, "", "")

    monkeypatch.setattr(gateway, "run", without_tc)
    assert NetemShaper.unavailable(cast("Runtime", gateway)) == "there is no program tc"


def test_what_tc_prints_is_not_json(shaper: NetemShaper, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_listed", lambda line: [])
    monkeypatch.setattr(json, "dumps", lambda value: "qdisc tbf 1:")
    with pytest.raises(LinkFailure, match="not JSON"):
        shaper.check()
    assert gateway.refused


def test_a_network_the_gateway_has_two_addresses_in_is_listed_once() -> None:
    addresses = [
        {"local": "10.203.1.3", "prefixlen": 24, "scope": "global"},
        {"local": "10.203.1.1", "prefixlen": 24, "scope": "global"},
        {"local": "fd00:cb:1::1", "prefixlen": 64, "scope": "global"},
        {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
    ]

    class Lab:
        def run(self, *_: object) -> Completed:
            return Completed(0, json.dumps([{"ifname": "eth0", "mtu": 1500, "addr_info": addresses}]), "")

    lab: Any = Lab()
    assert _networks(lab) == {"eth0": (("10.203.1.0/24", "fd00:cb:1::/64"), 1500)}
