"""Measures every link of a lab, from nodes at both ends, with a prober of ours in each.

One pair of sites is probed by one node at each end; all pairs at once, gently. What is found is
`harness.links.measurement.LinkMeasurement`; whether it is what was declared says `measurement.judge`.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.errors import LinkFailure
from harness.links.dialogue import Dialogue, Ended, Silent
from harness.links.expectation import expected_round_trip, lone_spacing_s
from harness.links.measurement import PROBE_BYTES, LinkMeasurement, LinkVerdict, PairProbe, Throughput, judge, spread
from harness.plan.cell import LabPlan, LinkPlan, NodePlan
from harness.runtime.archive import build_archive
from harness.runtime.protocol import Runtime

__all__ = ["Probing", "probe_links", "require_declared"]

Family = Literal[4, 6]

#: The longest an echo is waited for beyond its declared round trip, seconds.
_PATIENCE_S = 0.7
_START_S = 20.0
#: What a full TCP segment has beside its bytes and its IP header: Ethernet, TCP and its time stamps.
_HEADER_BYTES = 14 + 20 + 12


@dataclass(frozen=True, slots=True)
class Probing:
    """How to probe.

    Attributes:
        count: echoes per pair of sites.
        spacing_s: seconds between two echoes of a pair; None for 60 ms, or so much more on links with wide jitter that
            an echo kept in order waits for none before it.
        family: address family, 4 or 6.
        throughput_s: seconds of one TCP flow per direction, one direction after the other; 0 for none.
        congestion: TCP congestion control for that flow, None for the machine's own.
    """

    count: int = 30
    spacing_s: float | None = None
    family: Family = 4
    throughput_s: float = 0.0
    congestion: str | None = None


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two linked sites with nodes: `there` is probed from `asker`, `back` is the way the echoes return."""

    there: LinkPlan
    back: LinkPlan
    asker: NodePlan
    answerer: NodePlan


def require_declared(measurement: LinkMeasurement, links: Sequence[LinkPlan]) -> tuple[LinkVerdict, ...]:
    """The verdicts over a measurement, if all links are as declared. Raises LinkFailure naming those that are not."""
    verdicts = judge(measurement, links)
    off = [verdict for verdict in verdicts if verdict.off]
    if off:
        raise LinkFailure(
            "links are not as declared: "
            + "; ".join(f"{verdict.source} -> {verdict.target}: {verdict.why}" for verdict in off),
            where=f"link {off[0].link}",
            expected="a median round trip within max(5 %, 1 ms) of the declared one, and the declared loss",
            remedy="a busy machine delays packets: see the emulator's lateness; use fewer agents, or a quieter machine",
        )
    return verdicts


def probe_links(lab: Runtime, plan: LabPlan, probing: Probing | None = None) -> LinkMeasurement:
    """Probe all links of an opened lab whose links are applied.

    Args:
        lab: where the nodes are.
        plan: its plan; links between sites without nodes, and links without a way back, are listed as not probed.
        probing: how.

    Raises:
        LinkFailure: a prober did not start or did not answer.
    """
    probing = probing or Probing()
    began = time.monotonic()
    pairs, not_probed = _pairs(plan)
    nodes = {node.name: node for pair in pairs for node in (pair.asker, pair.answerer)}
    with contextlib.ExitStack() as stack:
        probers = stack.enter_context(_probers(lab, nodes, probing.family)) if nodes else {}
        ready = {name: _hear(name, dialogue, _START_S) for name, dialogue in probers.items()}
        flights = _echoes(pairs, probers, ready, probing)
        probes: list[PairProbe] = []
        for pair, flight in zip(pairs, flights, strict=True):
            shared_clock = bool(ready[pair.asker.name]["clock"]) and (
                ready[pair.asker.name]["clock"] == ready[pair.answerer.name]["clock"]
            )
            for link, reverse, one_way in ((pair.there, pair.back, "there_s"), (pair.back, pair.there, "back_s")):
                probes.append(
                    PairProbe(
                        link=link.name,
                        source=link.source,
                        target=link.target,
                        declared_s=expected_round_trip(link.impairment, reverse.impairment, PROBE_BYTES).p50_s,
                        sent=flight["sent"],
                        lost=flight["lost"],
                        duplicates=flight["duplicates"],
                        out_of_order=flight["out_of_order"],
                        rtt=spread(flight["rtt_s"]),
                        one_way=spread(flight[one_way]) if shared_clock else None,
                    )
                )
        if probing.throughput_s > 0:
            by_site = {node.site: node for node in nodes.values()}
            probes = [
                replace(
                    probe,
                    throughput=_throughput(by_site[probe.source], by_site[probe.target], probers, ready, probing),
                )
                for probe in probes
            ]
    return LinkMeasurement(
        probes=tuple(probes),
        not_probed=tuple(not_probed),
        congestion_control={name: str(hello["congestion"]) for name, hello in ready.items()},
        began_s=began,
        ended_s=time.monotonic(),
    )


def _pairs(plan: LabPlan) -> tuple[list[_Pair], list[tuple[str, str, str]]]:
    links = {(link.source, link.target): link for link in plan.links}
    ends = {site.name: plan.nodes_at(site.name)[0] for site in plan.sites if plan.nodes_at(site.name)}
    pairs: list[_Pair] = []
    skipped: list[tuple[str, str, str]] = []
    for (source, target), link in links.items():
        without = [site for site in (source, target) if site not in ends]
        if without:
            skipped.append((source, target, f"no node at {' or '.join(without)}"))
        elif (target, source) not in links:
            skipped.append((source, target, f"no link back from {target} to {source}"))
        elif list(links).index((source, target)) < list(links).index((target, source)):
            pairs.append(_Pair(link, links[target, source], ends[source], ends[target]))
    return pairs, skipped


@contextlib.contextmanager
def _probers(lab: Runtime, nodes: Mapping[str, NodePlan], family: Family) -> Iterator[dict[str, Dialogue]]:
    """A prober in every node, for as long as the context lasts."""
    dialogues: dict[str, Dialogue] = {}
    with tempfile.TemporaryDirectory(prefix="harness-prober-") as folder:
        archive = build_archive(Path(folder) / "prober.pyz", ["harness.links.prober"], "harness.links.prober.main:main")
        try:
            for name in nodes:
                path = lab.put(name, archive, "prober.pyz")
                dialogues[name] = Dialogue(lab.start(name, [lab.python, path, str(family)], log=f"prober-{name}"))
            yield dialogues
        finally:
            for dialogue in dialogues.values():
                dialogue.end()


def _hear(node: str, dialogue: Dialogue, timeout_s: float) -> dict[str, Any]:
    try:
        return dialogue.hear(timeout_s)
    except (Ended, Silent) as failure:
        what = "did not answer" if isinstance(failure, Silent) else f"has ended with status {failure.status}"
        raise LinkFailure(
            f"the link prober {what}",
            where=f"node {node}",
            expected=f"an answer within {timeout_s:g} s",
            remedy=f"see logs/prober-{node}.log",
        ) from None


def _tell(node: str, dialogue: Dialogue, request: Mapping[str, Any]) -> None:
    try:
        dialogue.tell(request)
    except Ended as ended:
        raise LinkFailure(
            f"the link prober has ended with status {ended.status}",
            where=f"node {node}",
            remedy=f"see logs/prober-{node}.log",
        ) from None


def _address(node: NodePlan, family: Family) -> str:
    return node.address6 if family == 6 else node.address


def _echoes(
    pairs: Sequence[_Pair], probers: Mapping[str, Dialogue], ready: Mapping[str, Any], probing: Probing
) -> list[dict[str, Any]]:
    """One flight per pair, all pairs at once."""
    by_asker: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        by_asker.setdefault(pair.asker.name, []).append(index)
    waits: dict[str, float] = {}
    spacings = [
        lone_spacing_s(pair.there.impairment, pair.back.impairment) if probing.spacing_s is None else probing.spacing_s
        for pair in pairs
    ]
    for name, indices in by_asker.items():
        expected = [
            expected_round_trip(pairs[index].there.impairment, pairs[index].back.impairment, PROBE_BYTES)
            for index in indices
        ]
        waits[name] = max(one.p50_s + 6 * one.spread_s for one in expected) + _PATIENCE_S
        targets = [
            {
                "address": _address(pairs[index].answerer, probing.family),
                "port": ready[pairs[index].answerer.name]["udp"],
                "spacing_s": spacings[index],
            }
            for index in indices
        ]
        request = {
            "op": "probe",
            "targets": targets,
            "count": probing.count,
            "size": PROBE_BYTES,
            "wait_s": waits[name],
        }
        _tell(name, probers[name], request)
    flights: dict[int, dict[str, Any]] = {}
    for name, indices in by_asker.items():
        longest = probing.count * max(spacings[index] for index in indices) + 2 * waits[name] + _START_S
        answer = _hear(name, probers[name], longest)
        flights.update(zip(indices, answer["flights"], strict=True))
    return [flights[index] for index in range(len(pairs))]


def _throughput(
    source: NodePlan,
    target: NodePlan,
    probers: Mapping[str, Dialogue],
    ready: Mapping[str, Any],
    probing: Probing,
) -> Throughput | None:
    """One TCP flow from source to target; None if it could not be opened."""
    patience = probing.throughput_s + _START_S
    sender, sink = probers[source.name], probers[target.name]
    _tell(target.name, sink, {"op": "sink", "timeout_s": patience})
    request = {
        "op": "send",
        "address": _address(target, probing.family),
        "port": ready[target.name]["tcp"],
        "seconds": probing.throughput_s,
        "congestion": probing.congestion,
        "timeout_s": patience,
    }
    _tell(source.name, sender, request)
    sent = _hear(source.name, sender, 2 * patience)
    received = _hear(target.name, sink, 2 * patience)
    if "error" in sent or not received["connections"] or received["seconds"] <= 0:
        return None
    headers = _HEADER_BYTES + (40 if probing.family == 6 else 20)
    steady, segment = received["steady_bytes_per_s"], sent["segment_bytes"]
    return Throughput(
        bits_per_s=received["bytes"] * 8 / received["seconds"],
        connect_s=sent["connect_s"],
        congestion=sent["congestion"],
        wire_bits_per_s=steady * 8 * (segment + headers) / segment if steady and segment else None,
        seconds=received["seconds"],
    )
