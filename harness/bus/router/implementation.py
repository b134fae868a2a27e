"""Which router program a node runs, and how it is started; apart from this, real and embedded routers are one."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import BusFailure, MissingCapability
from harness.runtime.archive import build_archive
from harness.runtime.protocol import Runtime

__all__ = ["Implementation", "RouterProgram", "put_archive", "router_program"]

Implementation = Literal["auto", "skrouterd", "embedded"]

#: Names a real router's program may have in a node, tried in this order where HARNESS_SKROUTERD is not set.
_PROGRAMS = ("skrouterd", "qdrouterd")


@dataclass(frozen=True, slots=True)
class RouterProgram:
    """How to run a router in one node.

    Attributes:
        name: what it is, e.g. "skrouterd", "qdrouterd", "embedded stand-in".
        version: as it says itself.
        stand_in: whether it is ours and not the system under test's own router.
        argv: the program and its arguments up to the path of the configuration file, which follows.
    """

    name: str
    version: str
    stand_in: bool
    argv: tuple[str, ...]


def router_program(lab: Runtime, node: str, wanted: Implementation, proton_python: str) -> RouterProgram:
    """The router to run in that node.

    Args:
        lab: the opened lab.
        node: where it is to run.
        wanted: "skrouterd" insists on a real router, "embedded" on ours, "auto" takes a real one where there is one.
        proton_python: path, in the node, of a Python that has `proton`.

    Raises:
        MissingCapability: no real router, though one was asked for (or named by HARNESS_SKROUTERD).
    """
    if wanted != "embedded":
        real = _real(lab, node, required=wanted == "skrouterd")
        if real is not None:
            return real
    archive = put_archive(lab, node, ("harness.bus.router.embedded",), "harness.bus.router.embedded.main:main")
    checked = lab.run(node, [proton_python, "-I", archive, "--version"], timeout_s=60.0)
    if checked.returncode != 0:
        raise MissingCapability(
            f"the embedded router does not run: {checked.stderr.strip()[-500:]}",
            where=node,
            expected=f"a Python with python-qpid-proton >= 0.38 at {proton_python}",
            remedy="build the amqp1 stack anew, or name a real router in HARNESS_SKROUTERD",
        )
    return RouterProgram(
        name="embedded stand-in",
        version=checked.stdout.strip(),
        stand_in=True,
        argv=(proton_python, "-I", archive, "--config"),
    )


def _real(lab: Runtime, node: str, *, required: bool) -> RouterProgram | None:
    # It names a program of this host, which no container has.
    named = None if lab.name == "docker" else os.environ.get("HARNESS_SKROUTERD")
    for candidate in (named,) if named else _PROGRAMS:
        # The script is constant; the candidate is its argument.
        found = lab.run(node, ["sh", "-c", 'command -v -- "$1"', "find", candidate])
        if found.returncode == 0:
            path = found.stdout.strip()
            said = lab.run(node, [path, "--version"], timeout_s=30.0)
            if said.returncode != 0:
                raise BusFailure(
                    f"{path} --version ended with {said.returncode}: {said.stderr.strip()[-500:]}", where=node
                )
            return RouterProgram(Path(path).name, said.stdout.strip(), stand_in=False, argv=(path, "--config"))
    if required or named:
        raise MissingCapability(
            f"no real router was found{f' at $HARNESS_SKROUTERD ({named})' if named else ''}",
            where=node,
            expected=" or ".join((named,) if named else _PROGRAMS),
            remedy="put skupper-router's skrouterd on PATH, name it in HARNESS_SKROUTERD, "
            "or use `implementation: embedded`",
        )
    return None


def put_archive(lab: Runtime, node: str, packages: tuple[str, ...], main: str) -> str:
    """Put node-side code into a node as one runnable file; returns its path there."""
    name = packages[0].rpartition(".")[2] + ".pyz"
    with tempfile.TemporaryDirectory() as scratch:
        return lab.put(node, build_archive(Path(scratch, name), packages, main), name)
