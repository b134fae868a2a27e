"""The `netem` link backend: the kernel's own network emulator, where the kernel has it (sch_netem)."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import LabFailure, LinkFailure
from harness.links import gateway, netem_plan
from harness.links.expectation import mean_loss
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
        #: Directions in which packets were meant to be lost at some time.
        self._lossy: set[tuple[str, str]] = set()
        #: (lost, tail-dropped) before a direction's counters began anew.
        self._dropped: dict[tuple[str, str], tuple[int, int]] = {}
        self._environment: dict[str, str] = {}
        self._fault: LinkFailure | None = None
        self._closed = False
        #: Held while a tree is not what it is to be, so that nobody takes it for a fault.
        self._whole = threading.RLock()

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
            for argv in (
                ["tc", "qdisc", "del", "dev", _TRIAL.incoming, "ingress"],
                ["ip", "link", "del", _TRIAL.device],
            ):
                with contextlib.suppress(LabFailure):
                    lab.run(WAN, argv)
        return None

    def apply(self, lab: Runtime, links: Sequence[LinkPlan]) -> None:
        """Build all trees, then let packets cross between the sites that have a link."""
        self._lab = lab
        self._environment = {"TC_LIB_DIR": _send_tables(lab)}
        self._links = {(link.source, link.target): effective(link.impairment) for link in links}
        self._lossy = {pair for pair, impairment in self._links.items() if mean_loss(impairment)}
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
        with self._whole:
            in_force = severed(whole) if (source, target) in self._cut else whole
            if mean_loss(whole):
                self._lossy.add((source, target))
            self._batch("tc", netem_plan.change_commands(shape, in_force))
            self._links[source, target] = whole
        return time.monotonic()

    def cut(self, source: str, target: str) -> float:
        """Drop everything behind the tree, then also what was under way in it, and lose what enters it."""
        pair, shape = (source, target), self._shape(source, target)
        with self._whole:
            self._lossy.add(pair)
            self._cut.add(pair)
            self._install()
            at_s = time.monotonic()
            self._dropped[pair] = self._drops(self._trees(), pair)
            self._batch("tc", netem_plan.flush_commands(shape, severed(self._links[pair])))
        return at_s

    def heal(self, source: str, target: str) -> float:
        """End a cut: the tree first, then the way behind it."""
        shape = self._shape(source, target)
        with self._whole:
            self._batch("tc", netem_plan.change_commands(shape, self._links[source, target]))
            self._cut.discard((source, target))
            self._install()
            return time.monotonic()

    def read_back(self) -> Mapping[tuple[str, str], Impairment]:
        """What the kernel says it does."""
        with self._whole:
            trees = self._trees()
            return {
                pair: netem_plan.read_impairment(
                    _part(trees, shape, "2:")["options"], _part(trees, shape, "3:")["options"], self._links[pair]
                )
                for pair, shape in self._shapes.items()
            }

    def evidence(self) -> Mapping[str, Any]:
        """The kernel's counters per direction; not valid where packets were dropped that nobody meant to be lost.

        netem does not measure its own lateness.
        """
        links, why = [], []
        with self._whole:
            trees = self._trees()
            for pair, shape in self._shapes.items():
                root = _part(trees, shape, "1:")
                lost, overflowed = self._drops(trees, pair)
                links.append(
                    {
                        "source": pair[0],
                        "target": pair[1],
                        "arrived": root["packets"] + lost + overflowed + root["qlen"],
                        "released": root["packets"],
                        "lost": lost,
                        "tail_dropped": overflowed,
                    }
                )
                if lost and pair not in self._lossy:
                    why.append(f"netem dropped {lost} packets from {pair[0]} to {pair[1]}, where no loss is declared")
        return {"backend": self.name, "lateness": None, "links": links, "valid": not why, "why": why}

    def check(self) -> None:
        """Raise LinkFailure if any direction has lost a part of its tree or of the way into it.

        Traffic between sites is refused first, for good: what is not shaped does not cross.
        """
        with self._whole:
            lab, shapes = self._opened(), list(self._shapes.values())
            try:
                missing = netem_plan.missing_parts(shapes, self._listed(netem_plan.check_commands(shapes)))
                if not missing:
                    return
                more = f", and {len(missing) - 1} more faults" if len(missing) > 1 else ""
                self._fault = LinkFailure(
                    f"links are not shaped any more: {missing[0]}{more}",
                    where=f"node {WAN}",
                    expected="every queueing discipline and filter that apply() made",
                    remedy="nothing crosses between sites now; the run's results are not valid",
                )
            except LabFailure as failure:
                self._fault = LinkFailure(f"tc cannot list what it does: {failure.what}", where=f"node {WAN}")
            except LinkFailure as failure:
                self._fault = failure
            gateway.refuse_all(lab, sorted({shape.incoming for shape in shapes}))
            raise self._fault

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
        if self._fault is not None:
            raise self._fault
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
        trees: dict[str, dict[str, Any]] = {}
        for disciplines in self._listed("qdisc show\n", "-s"):
            for discipline in disciplines:
                trees.setdefault(discipline["dev"], {})[discipline["handle"]] = discipline
        return trees

    def _listed(self, script: str, *options: str) -> list[list[dict[str, Any]]]:
        """What tc prints for the lines of a batch that lists, one after the other."""
        done = self._opened().run(WAN, ["tc", *options, "-j", "-batch", "-"], input=script.encode())
        if done.returncode != 0:
            raise LinkFailure(
                f"tc cannot list what it does: {' '.join(done.stderr.split()) or done.returncode}", where=f"node {WAN}"
            )
        listed, rest = [], done.stdout.strip()
        try:
            while rest:
                value, end = json.JSONDecoder().raw_decode(rest)
                listed.append(value)
                rest = rest[end:].lstrip()
        except ValueError:
            raise LinkFailure(
                f"what tc lists is not JSON: {rest[:80]!r}", where=f"node {WAN}", expected="iproute2 4.17 or newer"
            ) from None
        return listed

    def _drops(self, trees: Mapping[str, Mapping[str, Any]], pair: tuple[str, str]) -> tuple[int, int]:
        """(lost, tail-dropped) packets of a direction since apply(); netem counts the rate's drops as its own, too."""
        shape = self._shapes[pair]
        overflowed = _part(trees, shape, "3:")["drops"]
        lost = _part(trees, shape, "2:")["drops"] - overflowed
        before = self._dropped.get(pair, (0, 0))
        return before[0] + lost, before[1] + overflowed


def _part(trees: Mapping[str, Mapping[str, Any]], shape: Shape, handle: str) -> Any:
    """One queueing discipline of a direction's tree."""
    part = trees.get(shape.device, {}).get(handle)
    if part is None:
        raise LinkFailure(
            "a link is not shaped any more",
            where=f"{shape.device} in node {WAN}",
            expected=f"a queueing discipline {handle}",
            remedy="see whether something else changes the gateway's network",
        )
    return part


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
