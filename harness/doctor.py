"""What this machine can do for the harness, found out by trying, and how to get what is missing.

`examine` tries everything: it opens small labs of its own and removes them again. Nothing is changed.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import docker.errors
import requests.exceptions

from harness.errors import HarnessError
from harness.images.choice import tools_there
from harness.images.recipes import BASE
from harness.links.registry import shapers
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import CellPlan, LabPlan, NodePlan
from harness.runtime.docker.engine import Engine, connect
from harness.runtime.docker.labels import leftovers
from harness.runtime.docker.runtime import DockerRuntime
from harness.runtime.labs import abandoned_labs, temporary_directory
from harness.runtime.local import LocalRuntime
from harness.runtime.protocol import WAN, Runtime
from harness.stack.build import default_cache

__all__ = ["Finding", "State", "disk_needed", "examine", "memory_needed"]

State = Literal["ok", "note", "missing"]

_REAL_TIME = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(30))"

#: Resident memory by part, bytes, with head-room; measured: 51 MiB per client, 28 MiB per router, 150 MiB per broker.
_CLIENT, _ROUTER, _BROKER, _SAMPLER = 64 << 20, 64 << 20, 256 << 20, 16 << 20
#: Free disk a run may want: stacks and images take about as much, and so may results, where no scenario tells.
_DISK = 5 << 30
#: An operation is a record at its client and one at its server; a second of a process is a row of samples. Bytes.
_OPERATION, _SAMPLE = 2 * 40, 200

#: How to get what a link backend wants.
_BACKENDS = {
    "netem": "modprobe sch_netem, or a kernel package that has it (on Debian cloud kernels: linux-image-amd64)",
    "nfqueue": "modprobe nfnetlink_queue and xt_NFQUEUE, or a kernel package that has them",
}


#: A firewall that sees bridged frames applies to what passes between a node and its gateway, as if it were forwarded.
_FIREWALL = (
    "if links are off by all packets, let the firewall forward them (Docker's drops those of podman's networks), or "
    "set net.bridge.bridge-nf-call-iptables to 0"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: its name.
        state: "ok"; "note": works, but worth knowing; "missing": something will not work.
        detail: what was found.
        remedy: how to get what is missing, "" if nothing is.
    """

    what: str
    state: State
    detail: str
    remedy: str = ""


def memory_needed(cell: CellPlan) -> int:
    """An estimate of the memory a cell's processes take, bytes, limits of nodes not counted."""
    kinds = {node.name: bus.kind for bus in cell.buses for node in bus.nodes}
    buses = sum(_BROKER if kind == "rabbitmq" else _ROUTER for kind in kinds.values())
    return buses + len(cell.agents) * _CLIENT + len(cell.lab.nodes) * _SAMPLER


def disk_needed(cell: CellPlan) -> int:
    """An estimate of what a cell records, bytes; what closed loops without a count do is not known and not counted."""
    load_s = cell.phases.warmup_s + cell.phases.duration_s
    operations = sum(_operations(agent.task.get("schedule") or {}, load_s) for agent in cell.agents)
    return int(operations * _OPERATION + load_s * (len(cell.agents) + len(cell.lab.nodes)) * _SAMPLE)


def _operations(schedule: Mapping[str, Any], load_s: float) -> float:
    """How many operations a schedule (harness.agent.schedule) can have at most."""
    match schedule.get("kind"):
        case "constant" | "poisson":
            return float(schedule["rate_per_s"]) * load_s
        case "steps":
            return max(float(step["rate_per_s"]) for step in schedule["steps"]) * load_s
        case "ramp":
            return max(float(schedule["from_per_s"]), float(schedule["to_per_s"])) * load_s
        case "burst":
            return float(schedule["size"]) * (load_s / float(schedule["period_s"]) + 1)
        case _:
            return float(schedule.get("count") or 0)


def examine(cells: Sequence[CellPlan] = (), *, where: Path = Path()) -> list[Finding]:
    """Look at everything.

    Args:
        cells: a scenario's cells, to compare the machine with what they need.
        where: directory results will go to.
    """
    return [*_machine(cells, where), *_local(), *_engine(), *_programs()]


def _machine(cells: Sequence[CellPlan], where: Path) -> Iterator[Finding]:
    cpus = len(os.sched_getaffinity(0))
    few = "" if cpus > 1 else "with one processor senders, bus and emulator make each other late"
    yield Finding("processors", "ok" if cpus > 1 else "note", str(cpus), few)
    yield Finding("kernel", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    available = _available_memory()
    needed = max((memory_needed(cell) for cell in cells), default=0)
    if available is not None:
        detail = f"{_gib(available)} available" + (f", about {_gib(needed)} needed" if needed else "")
        short = needed > available
        yield Finding("memory", "missing" if short else "ok", detail, "fewer clients, or more memory" if short else "")
    recorded = [disk_needed(cell) for cell in cells]
    for name, path, wanted in (
        ("results", where, sum(recorded)),
        ("temporary files", temporary_directory(), max(recorded, default=0)),
        ("cache", default_cache(), 0),
    ):
        while not path.exists():
            path = path.parent
        yield _disk(f"disk for {name}", path, wanted)
    left = abandoned_labs()
    if left:
        yield Finding("leftovers", "note", f"{len(left)} labs of killed runs", "`harness cleanup` removes them")


def _disk(name: str, path: Path, wanted: int) -> Finding:
    """Whether there is room for what a scenario records, or, where that is not known (0), for about what runs take."""
    free = shutil.disk_usage(path).free
    detail = f"{_gib(free)} free at {path.resolve()}"
    if wanted:
        short = free < wanted
        detail += f", about {_gib(wanted)} needed" if wanted >= 0.05 * 2**30 else ", little needed"
        return Finding(name, "missing" if short else "ok", detail, "make room, or a shorter load" if short else "")
    low = free < _DISK
    remedy = f"less than {_gib(_DISK)}: long runs, stacks and images may not fit" if low else ""
    return Finding(name, "note" if low else "ok", detail, remedy)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _available_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


# -- the local runtime ------------------------------------------------------------------------------------------------


def _local() -> Iterator[Finding]:
    yield from _with_lab("runtime local", lambda run_id, logs: LocalRuntime(run_id, logs))


def _with_lab(what: str, make: Callable[[str, Path], Runtime], detail: str = "") -> Iterator[Finding]:
    """Open a lab of two sites, and find out in it which link backends work and how punctual they can be.

    Args:
        detail: what to say of a runtime whose lab opens; "" for what its facts say.
    """
    found: list[Finding] = []
    with tempfile.TemporaryDirectory() as logs:
        try:
            with make(f"doctor-{secrets.token_hex(3)}", Path(logs)) as lab:
                lab.open(_two_sites())
                found.append(Finding(what, "ok", detail or str(lab.facts().get("privilege") or "")))
                found += _links(what, lab)
                found += _gateway(what.split()[1], lab)
                found.append(_between_sites(what.split()[1], lab))
        except HarnessError as error:
            found.append(Finding(what, "missing", error.what, error.remedy or ""))
    yield from found


def _two_sites() -> LabPlan:
    sites = site_plans({"doctor-a": Site(), "doctor-b": Site()})
    nodes = tuple(NodePlan(site.name, site.name, "host", *next(node_addresses(site))) for site in sites)
    return LabPlan(sites, nodes, ())


def _between_sites(runtime: str, lab: Runtime) -> Finding:
    """Whether a packet passes from site to site once the gateway lets it: the last thing done in the lab."""
    lab.run(WAN, ["iptables", "-P", "FORWARD", "ACCEPT"])
    here, there = _two_sites().nodes
    done = lab.run(here.name, ["ping", "-c", "1", "-W", "2", there.address])
    what = f"{runtime}: traffic between sites"
    if done.returncode == 0:
        return Finding(what, "ok", "passes the gateway")
    said = " ".join((done.stderr or done.stdout).split())[-200:]
    return Finding(what, "missing", f"does not pass the gateway: {said}", "look at this host's firewall")


def _gateway(runtime: str, lab: Runtime) -> Iterator[Finding]:
    """Where commands for the gateway run, if that is a question there."""
    where = lab.facts().get("gateway")
    if where is not None:
        yield Finding(f"{runtime}: gateway", "ok", f"served by {where}")


def _links(what: str, lab: Runtime) -> Iterator[Finding]:
    reasons = {name: shaper.unavailable(lab) for name, shaper in shapers().items() if name != "fake"}
    works = [name for name, reason in reasons.items() if reason is None]
    for name, reason in reasons.items():
        remedy = _BACKENDS.get(name, "") if reason is not None else ""
        remedy += f"; meanwhile {works[0]} is used" if remedy and works else ""
        state: State = "ok" if reason is None else "note"
        yield Finding(f"{what.split()[1]}: links by {name}", state, reason or "works", remedy)
    if not works:
        yield Finding(
            f"{what.split()[1]}: links",
            "missing",
            "no link backend works",
            "a kernel with sch_netem, or with nfnetlink_queue (NFQUEUE)",
        )
    refused = lab.run(WAN, [lab.python, "-I", "-S", "-c", _REAL_TIME]).returncode != 0
    yield Finding(
        f"{what.split()[1]}: real-time priority",
        "note" if refused else "ok",
        "refused: under load the emulator and open-loop clients are late, and results say so" if refused else "granted",
        "run as root on the engine's own host (CAP_SYS_NICE)" if refused else "",
    )


# -- the docker runtime -----------------------------------------------------------------------------------------------


def _engine() -> Iterator[Finding]:
    try:
        engine = connect()
    except HarnessError as error:
        yield Finding("runtime docker", "missing", error.what, error.remedy or "")
        return
    try:
        yield from _about(engine)
    finally:
        engine.close()


def _about(engine: Engine) -> Iterator[Finding]:
    about = engine.about
    detail = (
        f"{engine.name} {engine.version} at {engine.url}, {about.get('Driver')}, cgroup v{about.get('CgroupVersion')}"
    )
    untried = _why_untried(engine)
    if untried is None:
        yield from _with_lab("runtime docker", DockerRuntime, detail)
    else:
        yield Finding("runtime docker", "ok", detail)
        yield Finding("docker: links", "note", f"not tried: {untried[0]}", untried[1])
    limits = [name for name, key in (("memory", "MemoryLimit"), ("CPU", "CpuCfsQuota")) if about.get(key) is False]
    yield Finding(
        "docker: limits",
        "note" if limits else "ok",
        f"the engine cannot limit {' and '.join(limits)}" if limits else "CPU and memory",
    )
    if not engine.sets_default_route and _bridges_are_filtered():
        yield Finding("docker: traffic between sites", "note", "passes this host's firewall", _FIREWALL)
    answer = _registry(engine)
    yield Finding(
        "docker: image registry",
        "note" if answer else "ok",
        f"not reached: {answer}" if answer else "reached",
        "" if not answer else _without_registry(),
    )
    root = Path(str(about.get("DockerRootDir") or "/nowhere"))
    if engine.url.startswith("unix:") and root.exists():
        free = shutil.disk_usage(root).free
        low = free < _DISK
        yield Finding(
            "docker: disk of the engine",
            "note" if low else "ok",
            f"{_gib(free)} free at {root}",
            "`harness images prune`" if low else "",
        )
    left = [one for one in leftovers(engine) if one.driven is False]
    if left:
        yield Finding(
            "docker: leftovers", "note", f"{len(left)} things of killed runs", "`harness cleanup` removes them"
        )


def _why_untried(engine: Engine) -> tuple[str, str] | None:
    """Why no lab is opened on the engine, and what to do about it; None if one can be, as it is."""
    try:
        if not tools_there(engine):
            return "the image of the gateway is not on the engine", "`harness images build SCENARIO`, then again"
        if any(one.driven is not False for one in leftovers(engine)):
            return "another run is on the engine and has the addresses", "again when it is over (or `harness cleanup`)"
    except HarnessError as error:
        return error.what, error.remedy or ""
    return None


def _bridges_are_filtered() -> bool:
    """Whether this host's firewall sees bridged frames (br_netfilter)."""
    try:
        return Path("/proc/sys/net/bridge/bridge-nf-call-iptables").read_text().strip() == "1"
    except OSError:
        return False


def _registry(engine: Engine) -> str:
    """Why the public registry is not reached, "" if it is."""
    api: Any = engine.api
    try:
        api.inspect_distribution(BASE)
    except docker.errors.APIError as error:
        return " ".join(str(error.explanation or error).split())
    except requests.exceptions.RequestException as error:
        return str(error)
    return ""


def _without_registry() -> str:
    if shutil.which("mmdebstrap"):
        return "not needed: base images are made from Debian's mirror; real routers want their image loaded by hand"
    return "apt-get install mmdebstrap, and base images are made from Debian's mirror"


# -- programs ---------------------------------------------------------------------------------------------------------


def _programs() -> Iterator[Finding]:
    """What runs on this host itself: buses of the local runtime, and what stacks are compiled with."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/rabbitmq/bin:/opt/rabbitmq/sbin"
    for what, variable, names, remedy in (
        ("RabbitMQ", "HARNESS_RABBITMQ_SERVER", ("rabbitmq-server",), "apt-get install rabbitmq-server"),
        (
            "AMQP 1.0 router",
            "HARNESS_SKROUTERD",
            ("skrouterd", "qdrouterd"),
            "the embedded stand-in is used; for a real one put skrouterd on PATH or name it in HARNESS_SKROUTERD",
        ),
        ("C compiler", "CC", ("cc", "gcc"), "apt-get install build-essential libssl-dev libsasl2-dev python3-dev"),
    ):
        named = os.environ.get(variable)
        found = next((at for name in ((named,) if named else names) if (at := shutil.which(name, path=path))), None)
        yield Finding(
            f"{what} (local)", "ok" if found else "note", found or f"no {' or '.join(names)}", "" if found else remedy
        )
