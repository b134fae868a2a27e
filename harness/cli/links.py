"""`harness links`: the links of a topology, measured."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import click

from harness.errors import LinkFailure
from harness.files import load_topology
from harness.links.measurement import LinkVerdict, PairProbe, judge
from harness.links.probe import Probing, probe_links
from harness.links.registry import choose_shaper
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import LabPlan, NodePlan
from harness.plan.links import directed_links
from harness.runtime.labs import temporary_files_of
from harness.runtime.registry import choose_runtime, make_runtime

__all__ = ["links"]


@click.group()
def links() -> None:
    """Look at links by themselves."""


@links.command()
@click.argument("topology", type=click.Path(path_type=Path))
@click.option("--runtime", default="local", show_default=True, metavar="NAME", help="Where nodes live.")
@click.option("--links", "backend", default="auto", show_default=True, metavar="NAME", help="Link backend.")
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=30,
    show_default=True,
    help="Echoes per link; many tell its loss.",
)
@click.option(
    "--throughput",
    type=click.FloatRange(0.0, 3600.0),
    default=0.0,
    metavar="SECONDS",
    help="Also one TCP flow per direction, compared with the declared rate.",
)
@click.option("--ipv6", is_flag=True, help="Probe over IPv6.")
def probe(topology: Path, runtime: str, backend: str, count: int, throughput: float, ipv6: bool) -> None:
    """Put the links of TOPOLOGY into force, probe each from nodes at both ends, and judge them."""
    parsed, _ = load_topology(topology)
    sites = site_plans(parsed.sites)
    nodes = tuple(NodePlan(f"host-{site.name}", site.name, "host", *next(node_addresses(site))) for site in sites)
    plan = LabPlan(sites, nodes, directed_links(parsed))
    run_id = f"probe-{secrets.token_hex(3)}"
    chosen, why = choose_runtime(runtime)
    if why:
        click.echo(why)
    with (
        temporary_files_of(run_id),
        tempfile.TemporaryDirectory() as logs,
        make_runtime(chosen, run_id, Path(logs)) as lab,
    ):
        lab.open(plan)
        shaper = choose_shaper(lab, backend)
        try:
            shaper.apply(lab, plan.links)
            probing = Probing(count=count, family=6 if ipv6 else 4, throughput_s=throughput)
            measurement = probe_links(lab, plan, probing)
        finally:
            shaper.close()
    verdicts = judge(measurement, plan.links)
    declared = {(link.source, link.target): link.impairment for link in plan.links}
    titles = (
        f"{'link':<20} {'direction':<24} {'declared':>10} {'min':>10} {'p50':>10} {'p99':>10} {'loss (declared)':>18}"
    )
    rates = f" {'Mbit/s (declared)':>20}" if throughput else ""
    click.echo(f"{titles}{rates}  verdict   (backend {shaper.name}, runtime {chosen})")
    for found, verdict in zip(measurement.probes, verdicts, strict=True):
        rate_bps = declared[found.source, found.target].rate_bps
        click.echo(_line(found, verdict) + (f" {_rate(found, rate_bps):>20}" if throughput else "") + _judged(verdict))
    for source, target, why in measurement.not_probed:
        click.echo(f"{'':<20} {source + ' -> ' + target:<24} not probed: {why}")
    off = [verdict for verdict in verdicts if verdict.off]
    if off:
        raise LinkFailure(
            f"{len(off)} of {len(verdicts)} directions are not as declared",
            where=f"link {off[0].link}",
            expected="a median round trip within max(5 %, 1 ms) of the declared one, the declared loss, and its rate",
            remedy="try again on a quieter machine",
        )


def _line(found: PairProbe, verdict: LinkVerdict) -> str:
    """Round trips and loss of one direction; a lost question and a lost answer look the same."""
    times = (found.rtt.min_s, found.rtt.p50_s, found.rtt.p99_s) if found.rtt else (None, None, None)
    shown = " ".join(f"{'-' if one is None else f'{one * 1e3:.3f} ms':>10}" for one in (verdict.declared_s, *times))
    loss = f"{found.lost / found.sent:.2%} ({verdict.declared_loss:.2%})"
    return f"{found.link:<20} {found.source + ' -> ' + found.target:<24} {shown} {loss:>18}"


def _rate(found: PairProbe, declared_bps: float | None) -> str:
    """What a flow took, whole frames, as a rate limit counts them."""
    flow = found.throughput
    told = "none"
    if flow is not None:
        told = f"{(flow.wire_bits_per_s or flow.bits_per_s) / 1e6:.1f}"
    return f"{told} ({'-' if declared_bps is None else f'{declared_bps / 1e6:g}'})"


def _judged(verdict: LinkVerdict) -> str:
    return f"  off: {verdict.why}" if verdict.off else "  ok"
