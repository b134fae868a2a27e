"""`harness links`: the links of a topology, measured."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import click

from harness.errors import LinkFailure
from harness.files import load_topology
from harness.links.measurement import LinkVerdict, judge
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
@click.option("--throughput", type=float, default=0.0, metavar="SECONDS", help="Also one TCP flow per direction.")
@click.option("--ipv6", is_flag=True, help="Probe over IPv6.")
def probe(topology: Path, runtime: str, backend: str, throughput: float, ipv6: bool) -> None:
    """Put the links of TOPOLOGY into force, probe each from nodes at both ends, and judge them."""
    parsed, _ = load_topology(topology)
    sites = site_plans(parsed.sites)
    nodes = tuple(NodePlan(f"host-{site.name}", site.name, "host", *next(node_addresses(site))) for site in sites)
    plan = LabPlan(sites, nodes, directed_links(parsed))
    run_id = f"probe-{secrets.token_hex(3)}"
    with (
        temporary_files_of(run_id),
        tempfile.TemporaryDirectory() as logs,
        make_runtime(choose_runtime(runtime)[0], run_id, Path(logs)) as lab,
    ):
        lab.open(plan)
        shaper = choose_shaper(lab, backend)
        try:
            shaper.apply(lab, plan.links)
            measurement = probe_links(lab, plan, Probing(family=6 if ipv6 else 4, throughput_s=throughput))
        finally:
            shaper.close()
    verdicts = judge(measurement, plan.links)
    flows = {(p.source, p.target): p.throughput for p in measurement.probes}
    click.echo(
        f"{'link':<24} {'direction':<28} {'declared':>10} {'measured':>10}  {'verdict'}   (backend {shaper.name})"
    )
    for verdict in verdicts:
        flow = flows.get((verdict.source, verdict.target))
        rate = f"  {flow.bits_per_s / 1e6:.1f} Mbit/s, connect {flow.connect_s * 1e3:.2f} ms" if flow else ""
        click.echo(_line(verdict) + rate)
    for source, target, why in measurement.not_probed:
        click.echo(f"{'':<24} {source + ' -> ' + target:<28} not probed: {why}")
    off = [verdict for verdict in verdicts if verdict.off]
    if off:
        raise LinkFailure(
            f"{len(off)} of {len(verdicts)} directions are not as declared",
            where=f"link {off[0].link}",
            expected="a median round trip within max(5 %, 1 ms) of the declared one, and no unexplained loss",
            remedy="try again on a quieter machine",
        )


def _line(verdict: LinkVerdict) -> str:
    measured = "-" if verdict.measured_s is None else f"{verdict.measured_s * 1e3:.3f} ms"
    direction = f"{verdict.source} -> {verdict.target}"
    judged = f"off: {verdict.why}" if verdict.off else "ok"
    return f"{verdict.link:<24} {direction:<28} {verdict.declared_s * 1e3:>7.3f} ms {measured:>10}  {judged}"
