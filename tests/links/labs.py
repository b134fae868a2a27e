"""Small laboratories for the tests of links: some sites with one host each, and what a host can measure by itself."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from itertools import permutations
from math import inf
from typing import cast

from harness.model.links import Impairment
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import LabPlan, LinkPlan, NodePlan
from harness.runtime.protocol import Runtime

_CONNECT = """
import json, socket, sys, time
times = []
for _ in range(5):
    with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) as one:
        began = time.monotonic()
        try:
            one.connect((sys.argv[1], 9))
        except ConnectionRefusedError:
            times.append(time.monotonic() - began)
print(json.dumps(times))
"""

_RECEIVE = """
import select, socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
one.bind(("0.0.0.0", 7))
print("ready", flush=True)
count, sending = 0, True
while True:
    ready, _, _ = select.select([one, sys.stdin] if sending else [one], [], [], 60 if sending else 1)
    if one in ready:
        one.recv(2048)
        count += 1
    elif ready:
        sending = False
        sys.stdin.readline()
    else:
        break
print(count, flush=True)
"""

_SEND = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
for _ in range(int(sys.argv[2])):
    one.sendto(bytes(int(sys.argv[3])), (sys.argv[1], 7))
"""


class _FakeLab:
    name = "fake"


#: A lab for the fake shaper, which does not look into it.
FakeLab = cast("Runtime", _FakeLab())


def sites_lab(count: int, links: Mapping[tuple[str, str], Impairment] | Impairment) -> LabPlan:
    """Sites s1, s2, ... with one host each, h1, h2, ...; the given links, or all pairs alike."""
    sites = site_plans({f"s{number}": Site() for number in range(1, count + 1)})
    nodes = tuple(NodePlan(f"h{site.index}", site.name, "host", *next(node_addresses(site))) for site in sites)
    if isinstance(links, Impairment):
        links = dict.fromkeys(permutations([site.name for site in sites], 2), links)
    plans = [LinkPlan(f"{a}-{b}", a, b, impairment) for (a, b), impairment in links.items()]
    return LabPlan(sites, nodes, tuple(plans))


class Ping:
    """What an independent ping saw: packets sent and received, duplicates, and the round trips, ms.

    If nothing comes back it waits for a while: `patience_s`.
    """

    def __init__(
        self,
        lab: Runtime,
        node: str,
        address: str,
        *,
        count: int = 10,
        interval_s: float = 0.01,
        patience_s: float = 1,
    ) -> None:
        argv = ["ping", "-n", "-c", str(count), "-i", f"{interval_s:g}", "-W", f"{patience_s:g}", address]
        text = lab.run(node, argv, timeout_s=count * interval_s + 20).stdout
        summary = re.search(r"(\d+) packets transmitted, (\d+) received", text)
        assert summary is not None, text
        self.sent, self.received = int(summary[1]), int(summary[2])
        self.duplicates = text.count("(DUP!)")
        self.times_ms = [float(found) for found in re.findall(r"time=([\d.]+) ms", text)]

    @property
    def least_ms(self) -> float:
        """The shortest round trip; infinite if nothing came back."""
        return min(self.times_ms, default=inf)


def connect_times_s(lab: Runtime, node: str, address: str) -> list[float]:
    """How long a TCP connection to a port nobody listens on takes to be refused: one round trip. Seconds."""
    done = lab.run(node, [sys.executable, "-c", _CONNECT, address])
    times: list[float] = json.loads(done.stdout)
    return times


def one_way_datagrams(lab: Runtime, plan: LabPlan, source: str, target: str, count: int, size: int = 100) -> int:
    """How many of `count` datagrams sent at once from one host reach another, which never answers."""
    receiver = lab.start(target, [sys.executable, "-c", _RECEIVE], log=f"receive-{target}")
    assert receiver.stdout.readline() == b"ready\n"
    lab.run(source, [sys.executable, "-c", _SEND, plan.node(target).address, str(count), str(size)])
    receiver.stdin.write(b"sent\n")
    receiver.stdin.flush()
    return int(receiver.stdout.readline())
