"""How fast container labs come and go, and whether what is measured in them is what local labs measure.

    python -m tests.benchmarks.bench_docker [--only quickstart,sixty,agreement] [--scenario FILE]

Needs a container engine with the images of the scenario (`harness images build`). Figures only mean something on an
otherwise idle machine: the load average and the share of time the hypervisor took away are printed with them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import permutations
from pathlib import Path

import pandas as pd

from harness.files import load_scenario, plan_run
from harness.lab.observer import Silent
from harness.lab.provision import provide
from harness.lab.run import RunSettings, run_scenario
from harness.links.measurement import judge
from harness.links.probe import probe_links
from harness.links.registry import choose_shaper
from harness.model.links import Impairment
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import LabPlan, LinkPlan, NodePlan
from harness.runtime.docker.runtime import DockerRuntime
from harness.store.run import load_run
from tests.benchmarks.bench_links import Figure, Noise
from tests.benchmarks.kept import keep

QUICKSTART = Path("scenarios/quickstart.yaml")
#: Agreement of the two runtimes: medians within this share, or this many milliseconds.
_SHARE, _LEAST_MS = 0.05, 1.0


def up_and_down(plan: LabPlan, logs: Path) -> tuple[float, float, int]:
    """Seconds until a lab's links are probed, seconds to remove it, and how many directions were off."""
    began = time.monotonic()
    with DockerRuntime("bench", logs) as lab:
        lab.open(plan)
        shaper = choose_shaper(lab)
        shaper.apply(lab, plan.links)
        off = sum(verdict.off for verdict in judge(probe_links(lab, plan), plan.links))
        up = time.monotonic() - began
        shaper.close()
        began = time.monotonic()
    return up, time.monotonic() - began, off


def quickstart(scenario: Path, scratch: Path) -> Iterator[Figure]:
    """The router cell of the quickstart: three hosts, three routers, the gateway; best and worst of three."""
    loaded = load_scenario(scenario)
    cells = provide("docker", loaded.stacks, plan_run(loaded), lambda what, line: None).cells
    plan = max((cell.lab for cell in cells), key=lambda lab: len(lab.nodes))
    taken = [up_and_down(plan, scratch / f"quickstart-{number}") for number in range(3)]
    count = len(plan.nodes) + 1
    for name, index, goal in (("bring-up, links probed", 0, 20.0), ("teardown", 1, 8.0)):
        for which, choose in (("best of 3", min), ("worst of 3", max)):
            value = choose(one[index] for one in taken)
            yield Figure(f"{count} containers: {name}, {which}", value, "s", None, f"<= {goal:g} s", value <= goal)


def sixty(scenario: Path, scratch: Path) -> Iterator[Figure]:
    """Sixty containers on twelve sites, every pair of sites linked at 40 ms."""
    sites = site_plans({f"s{number}": Site() for number in range(1, 13)})
    nodes = []
    for site in sites:
        addresses = node_addresses(site)
        count = 4 if site.index == 1 else 5  # and the gateway
        nodes += [NodePlan(f"{site.name}-{k}", site.name, "host", *next(addresses)) for k in range(1, count + 1)]
    pairs = permutations([site.name for site in sites], 2)
    links = tuple(LinkPlan(f"{a}-{b}", a, b, Impairment(delay_s=0.02)) for a, b in pairs)
    up, down, off = up_and_down(LabPlan(sites, tuple(nodes), links), scratch / "sixty")
    yield Figure("60 containers on 12 sites: bring-up, links probed", up, "s", None, "<= 90 s", up <= 90)
    yield Figure("60 containers on 12 sites: teardown", down, "s", None, "", True)
    yield Figure("60 containers on 12 sites: directions off of 132", off, "", None, "0", off == 0)


def agreement(scenario: Path, scratch: Path) -> Iterator[Figure]:
    """The same scenario on both runtimes: medians by system and pair of sites, and what was delivered."""
    medians: dict[str, dict[tuple[str, ...], float]] = {}
    delivered: dict[str, pd.DataFrame] = {}
    for runtime in ("local", "docker"):
        path = run_scenario(
            load_scenario(scenario), RunSettings(scratch / runtime, runtime=runtime, retries=4), Silent()
        )
        run = load_run(path)
        for cell in run.manifest.cells:
            if cell.state != "valid":
                print(f"  {runtime} {cell.id}: {cell.state}: {'; '.join(cell.why)}")
        keys = ["system", "workload", "client_site", "server_site"]
        grouped = run.latency.groupby(keys, observed=True)["response_ms"].median().dropna()
        medians[runtime] = {
            tuple(map(str, key)): float(value) for key, value in zip(grouped.index, grouped, strict=True)
        }
        ledger = run.delivery
        counts = [name for name in ("sent", "accepted", "delivered", "lost", "duplicated", "failed") if name in ledger]
        delivered[runtime] = ledger.groupby(["system", "workload", "client_site"], observed=True)[counts].sum()
    for key in (key for key in medians["local"] if key in medians["docker"]):
        local, docker = medians["local"][key], medians["docker"][key]
        allowed = max(_SHARE * local, _LEAST_MS)
        agree = abs(docker - local) <= allowed
        yield Figure(f"p50 {' '.join(key)}", docker, "ms", local, f"within {allowed:.1f} ms", agree)
    same = delivered["local"].equals(delivered["docker"])
    if not same:
        print(delivered["local"].join(delivered["docker"], rsuffix=" in docker", how="outer").to_string())
    yield Figure("delivery identical (1: yes)", float(same), "", None, "1", same)


PARTS: dict[str, Callable[[Path, Path], Iterator[Figure]]] = {
    "quickstart": quickstart,
    "sixty": sixty,
    "agreement": agreement,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for and print their figures; exit status 0 whatever they are."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts: {', '.join(PARTS)}")
    parser.add_argument("--scenario", type=Path, default=QUICKSTART)
    parser.add_argument("--json", type=Path, help="also keep the figures here")
    chosen = parser.parse_args(arguments)
    print(f"{'figure':<52} {'value':>12} {'unit':<10} {'local':>10} {'ratio':>6}  {'goal':<26} reached")
    with tempfile.TemporaryDirectory() as scratch:
        for part in chosen.only.split(","):
            noise, figures = Noise(), []
            for figure in PARTS[part](chosen.scenario, Path(scratch)):
                figures.append(asdict(figure))
                print(figure.line(), flush=True)
            told = str(noise)
            print(f"  ({part}: {told})", flush=True)
            keep(chosen.json, part, figures, told)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
