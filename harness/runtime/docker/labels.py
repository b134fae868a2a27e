"""What everything the harness makes on an engine carries, and what of it nobody uses any more."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import LabFailure
from harness.runtime.docker.engine import Engine, engine_errors
from harness.runtime.labs import process_start

__all__ = [
    "CONTROLLER",
    "LAB",
    "NODE",
    "RUN",
    "Leftover",
    "controller_label",
    "driven_here",
    "labels",
    "leftovers",
    "remove",
]

RUN = "femdc-harness.run"
#: Who drives the lab: "host boot pid start", see `controller_label`.
CONTROLLER = "femdc-harness.controller"
NODE = "femdc-harness.node"
#: Tells labs of one run apart.
LAB = "femdc-harness.lab"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def controller_label(pid: int | None = None) -> str:
    """This process (or that one) as a label: host name, boot id, process id and its start time."""
    pid = pid or os.getpid()
    return f"{socket.gethostname()} {_boot()} {pid} {process_start(pid) or 0}"


def driven_here(label: str) -> bool | None:
    """Whether the process a controller label names still runs; None if that cannot be told from this machine."""
    parts = label.split()
    if len(parts) != 4 or parts[0] != socket.gethostname():
        return None
    if parts[1] != _boot():
        return False
    return process_start(int(parts[2])) == int(parts[3])


def labels(run_id: str, node: str = "") -> dict[str, str]:
    """The labels of something made for a run."""
    found = {RUN: run_id, CONTROLLER: controller_label()}
    return {**found, NODE: node} if node else found


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of ours on an engine: `kind` is "container", "network" or "volume"; `driven` as `driven_here`; `lab`
    tells which lab of the run it belongs to."""

    kind: str
    id: str
    name: str
    run_id: str
    controller: str
    driven: bool | None
    lab: str = ""


def leftovers(engine: Engine, run_id: str | None = None, *, lab: str | None = None) -> list[Leftover]:
    """Everything on the engine that carries a run's label (that run's, that lab's), whoever made it.

    Raises LabFailure.
    """
    wanted = {"label": [RUN if run_id is None else f"{RUN}={run_id}", *([f"{LAB}={lab}"] if lab else [])]}
    found: list[Leftover] = []

    def add(kind: str, key: str, name: str, carried: Mapping[str, str] | None) -> None:
        carried = carried or {}
        controller = carried.get(CONTROLLER, "")
        driven = driven_here(controller)
        found.append(Leftover(kind, key, name, carried.get(RUN, ""), controller, driven, carried.get(LAB, "")))

    with engine_errors("looking for what runs have left"):
        for one in engine.api.containers(all=True, filters=wanted):
            add("container", one["Id"], str((one.get("Names") or ["?"])[0]).lstrip("/"), one.get("Labels"))
        for one in engine.api.networks(filters=wanted):
            add("network", one["Id"], one["Name"], one.get("Labels"))
        for one in engine.api.volumes(filters=dict(wanted)).get("Volumes") or []:
            add("volume", one["Name"], one["Name"], one.get("Labels"))
    return found


def remove(engine: Engine, left: Leftover) -> None:
    """Remove one thing; it is no error if it is gone already. Raises LabFailure."""
    api: Any = engine.api
    try:
        with engine_errors(f"removing {left.kind} {left.name}"):
            if left.kind == "container":
                api.remove_container(left.id, force=True, v=True)
            elif left.kind == "network":
                api.remove_network(left.id)
            else:
                api.remove_volume(left.id, force=True)
    except LabFailure as failure:
        if (
            "No such" not in failure.what
            and "not found" not in failure.what
            and "already in progress" not in failure.what
        ):
            raise
