"""The `netem` link backend: the kernel's own network emulator, where the kernel has it (sch_netem)."""

from __future__ import annotations

import ipaddress
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import LabFailure, LinkFailure
from harness.links import gateway, netem_plan
from harness.links.netem_plan import Shape
from harness.model.links import Impairment, effective, severed
from harness.plan.cell import LinkPlan
from harness.runtime.protocol import WAN, Runtime

__all__ = ["NetemShaper"]

_TRIAL = Shape("linktrial", "lo", ("192.0.2.0/24", "2001:db8::/64"))
_TRIAL_IMPAIRMENT = effective(Impairment(delay_s=0.01, loss=0.01, rate_bps=1e6))


class NetemShaper:
    """Shapes by `tc`, one intermediate device per directed link (see `harness.links.netem_plan`)."""

    def __init__(self) -> None:
        self._lab: Runtime | None = None
        self._shapes: dict[tuple[str, str], Shape] = {}
        self._links: dict[tuple[str, str], Impairment] = {}
        self._cut: set[tuple[str, str]] = set()
        self._environment: dict[str, str] = {}
        self._closed = False

    @property
    def name(self) -> str:
        """ "netem"."""
        return "netem"

    @classmethod
    def unavailable(cls, lab: Runtime) -> str | None:
        """Builds one whole tree and its filters in the gateway, then removes them; None if that worked."""
        if (reason := gateway.missing(lab)) is not None:
            return reason
        try:
            for program, script in (
                ("ip", netem_plan.device_commands([_TRIAL])),
                ("tc", netem_plan.tree_commands([(_TRIAL, _TRIAL_IMPAIRMENT)])),
            ):
                done = lab.run(WAN, [program, "-batch", "-"], input=script.encode())
                if done.returncode != 0:
                    return f"{program}: {' '.join(done.stderr.split()) or done.returncode}"
        except LabFailure as failure:
            return failure.what
        finally:
            lab.run(WAN, ["tc", "qdisc", "del", "dev", _TRIAL.incoming, "ingress"])
            lab.run(WAN, ["ip", "link", "del", _TRIAL.device])
        return None

    def apply(self, lab: Runtime, links: Sequence[LinkPlan]) -> None:
        """Build all trees, then let packets cross between the sites that have a link."""
        self._lab = lab
        self._environment = {"TC_LIB_DIR": _send_tables(lab)}
        self._links = {(link.source, link.target): effective(link.impairment) for link in links}
        networks = _networks(lab)
        for number, (source, target) in enumerate(self._links, start=1):
            incoming, outgoing = lab.interface(source), lab.interface(target)
            subnets, mtu_bytes = networks[outgoing]
            self._shapes[source, target] = Shape(f"link{number}", incoming, subnets, mtu_bytes)
        self._batch("ip", netem_plan.device_commands(list(self._shapes.values())))
        self._batch("tc", netem_plan.tree_commands([(self._shapes[pair], self._links[pair]) for pair in self._links]))
        self._install()

    def change(self, source: str, target: str, impairment: Impairment) -> float:
        """Change one direction in place."""
        shape, whole = self._shape(source, target), effective(impairment)
        in_force = severed(whole) if (source, target) in self._cut else whole
        self._batch("tc", netem_plan.change_commands(shape, in_force))
        self._links[source, target] = whole
        return time.monotonic()

    def cut(self, source: str, target: str) -> float:
        """Drop everything behind the tree, also what was under way, and lose what enters it."""
        shape = self._shape(source, target)
        self._cut.add((source, target))
        self._install()
        at_s = time.monotonic()
        self._batch("tc", netem_plan.change_commands(shape, severed(self._links[source, target])))
        return at_s

    def heal(self, source: str, target: str) -> float:
        """End a cut: the tree first, then the way behind it."""
        shape = self._shape(source, target)
        self._batch("tc", netem_plan.change_commands(shape, self._links[source, target]))
        self._cut.discard((source, target))
        self._install()
        return time.monotonic()

    def read_back(self) -> Mapping[tuple[str, str], Impairment]:
        """What the kernel says it does."""
        found: dict[tuple[str, str], Impairment] = {}
        trees = self._trees()
        for pair, shape in self._shapes.items():
            tree = trees.get(shape.device, {})
            if "2:" not in tree or "3:" not in tree:
                raise LinkFailure("a link is not shaped any more", where=f"{shape.device} in node {WAN}")
            found[pair] = netem_plan.read_impairment(tree["2:"]["options"], tree["3:"]["options"], self._links[pair])
        return found

    def evidence(self) -> Mapping[str, Any]:
        """The kernel's counters per direction. netem does not measure its own lateness."""
        links = []
        trees = self._trees()
        for (source, target), shape in self._shapes.items():
            tree = trees[shape.device]
            released, refused = tree["1:"]["packets"], tree["2:"]["drops"]
            overflowed = tree["3:"]["drops"]
            links.append(
                {
                    "source": source,
                    "target": target,
                    "arrived": released + refused + tree["1:"]["qlen"],
                    "released": released,
                    "lost": refused - overflowed,
                    "tail_dropped": overflowed,
                }
            )
        return {"backend": self.name, "lateness": None, "links": links, "valid": True, "why": []}

    def check(self) -> None:
        """Raise LinkFailure if any direction has lost its netem."""
        trees = self._trees()
        for (source, target), shape in self._shapes.items():
            if trees.get(shape.device, {}).get("2:", {}).get("kind") != "netem":
                raise LinkFailure(
                    f"{source} -> {target} is not shaped any more",
                    where=f"{shape.device} in node {WAN}",
                    expected="a netem queueing discipline",
                )

    def close(self) -> None:
        """Refuse inter-site traffic, then remove the devices."""
        if self._closed or self._lab is None:
            return
        self._closed = True
        gateway.refuse_all(self._lab, sorted({shape.incoming for shape in self._shapes.values()}))
        for name in sorted({shape.incoming for shape in self._shapes.values()}):
            self._lab.run(WAN, ["tc", "qdisc", "del", "dev", name, "ingress"])
        script = netem_plan.teardown_commands(list(self._shapes.values()))
        self._lab.run(WAN, ["ip", "-force", "-batch", "-"], input=script.encode())

    def _opened(self) -> Runtime:
        if self._lab is None or self._closed:
            raise LinkFailure("no link is in force", expected="apply() before anything else, nothing after close()")
        return self._lab

    def _shape(self, source: str, target: str) -> Shape:
        self._opened()
        shape = self._shapes.get((source, target))
        if shape is None:
            raise LinkFailure(f"there is no link from {source} to {target}", expected="a link that was applied")
        return shape

    def _batch(self, program: str, script: str) -> None:
        done = self._opened().run(WAN, [program, "-batch", "-"], input=script.encode(), env=self._environment)
        if done.returncode != 0:
            raise LinkFailure(
                f"{program} refused to shape the links: {' '.join(done.stderr.split()) or done.returncode}",
                where=f"node {WAN}",
            )

    def _install(self) -> None:
        gateway.install(
            self._opened(),
            [
                gateway.Crossing(
                    self._opened().interface(source),
                    self._opened().interface(target),
                    gateway.drop() if (source, target) in self._cut else gateway.accept(),
                )
                for source, target in self._links
            ],
        )

    def _trees(self) -> dict[str, dict[str, Any]]:
        """Queueing disciplines by device and handle, with their counters."""
        done = self._opened().run(WAN, ["tc", "-s", "-j", "qdisc", "show"])
        if done.returncode != 0:
            raise LinkFailure(f"tc cannot list what it does: {done.stderr.strip()}", where=f"node {WAN}")
        trees: dict[str, dict[str, Any]] = {}
        for discipline in json.loads(done.stdout or "[]"):
            trees.setdefault(discipline["dev"], {})[discipline["handle"]] = discipline
        return trees


def _networks(lab: Runtime) -> dict[str, tuple[tuple[str, ...], int]]:
    """The networks and the MTU of each of the gateway's interfaces."""
    done = lab.run(WAN, ["ip", "-j", "address", "show"])
    if done.returncode != 0:
        raise LinkFailure(f"ip cannot list the gateway's addresses: {done.stderr.strip()}", where=f"node {WAN}")
    found = {}
    for interface in json.loads(done.stdout):
        subnets = [
            str(ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}").network)
            for address in interface["addr_info"]
            if address["scope"] == "global"
        ]
        # Once each, where the gateway has several addresses in one.
        found[interface["ifname"]] = (tuple(dict.fromkeys(subnets)), int(interface["mtu"]))
    return found


def _send_tables(lab: Runtime) -> str:
    """Our distribution tables as files in the gateway; the folder's path there."""
    with tempfile.TemporaryDirectory(prefix="harness-netem-") as scratch:
        folder = Path(scratch) / "tables"
        folder.mkdir()
        for name in netem_plan.TABLES:
            (folder / f"{name}.dist").write_text(netem_plan.table_text(name))
        return lab.put(WAN, folder, "netem-tables")
