"""What the netem backend reads of the gateway, from what `ip` says."""

from __future__ import annotations

import json
from typing import Any

from harness.links.netem import _networks
from harness.runtime.protocol import Completed


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
