"""What a runtime is: where nodes live and processes run in them.

Nothing above this protocol assumes that controller and nodes share a file system, a host or a clock. All paths
handed to a runtime's nodes are paths INSIDE the node, below `Runtime.workdir(node)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from harness.plan.cell import LabPlan

__all__ = ["WAN", "Completed", "NodeProcess", "Runtime"]

#: Name of the gateway node every site's traffic to other sites crosses; link backends work there.
WAN = "wan"


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished short command: exit status and both outputs, decoded as UTF-8 with replacement."""

    returncode: int
    stdout: str
    stderr: str


class NodeProcess(Protocol):
    """A process running in a node. Its stderr goes to a log file the runtime keeps; stdin and stdout are pipes."""

    @property
    def pid(self) -> int:
        """Process id as seen INSIDE the node (what the node's own /proc shows)."""

    @property
    def stdin(self) -> IO[bytes]:
        """Unbuffered pipe to the process; closing it is how a well-behaved process is told to end."""

    @property
    def stdout(self) -> IO[bytes]:
        """Pipe from the process; read by one reader only."""

    def poll(self) -> int | None:
        """Exit status if it has ended (negative: killed by that signal), else None. Never blocks."""

    def wait(self, timeout_s: float) -> int | None:
        """Exit status, waiting at most timeout_s seconds; None if it still runs."""

    def signal(self, number: int) -> None:
        """Send a signal to the process and everything in its process group; no error if it has already ended."""


class Runtime(Protocol):
    """Makes the nodes of a lab and runs processes in them.

    A runtime is a context manager: `with make_runtime(...) as lab: lab.open(plan)`; leaving it removes everything it
    made, whatever happened in between.
    """

    @property
    def name(self) -> str:
        """Registered name: "local", "docker", "fake"."""

    @property
    def python(self) -> str:
        """Path of a Python >= 3.8 with its standard library, the same in every node and in WAN."""

    def __enter__(self) -> Runtime: ...

    def __exit__(self, *exc_info: object) -> None:
        """Remove every node, process, network and rule this runtime made. Never masks the exception in flight."""

    def open(self, plan: LabPlan) -> None:
        """Make the sites, their nodes and the wan gateway. Inter-site traffic is REFUSED until links are applied.

        Raises LabFailure, MissingCapability.
        """

    def workdir(self, node: str) -> str:
        """A writable directory inside the node, its own, absolute."""

    def put(self, node: str, source: Path, name: str) -> str:
        """Copy a file or a directory tree into the node's workdir under `name`; returns its path in the node."""

    def get(self, node: str, path: str, target: Path) -> None:
        """Copy a file or directory from the node (path inside the node) to `target` here. Raises LabFailure."""

    def start(
        self,
        node: str,
        argv: Sequence[str],
        *,
        log: str,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> NodeProcess:
        """Start a process in the node (or in WAN) in its own process group. stderr is appended to logs/<log>.log.

        argv[0] is an absolute path in the node or a program on the node's PATH. `env` is added to a minimal
        environment (PATH, HOME=workdir, LANG=C.UTF-8); the caller's environment is not inherited.
        """

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a short command in the node (or in WAN) and wait for it. Raises LabFailure on time-out."""

    def log_text(self, log: str, *, last_bytes: int = 4096) -> str:
        """The end of what has been written to logs/<log>.log so far, decoded with replacement; "" if nothing."""

    def interface(self, site: str) -> str:
        """Name of the wan gateway's network interface on that site's segment."""

    def check(self) -> None:
        """Raise LabFailure if the opened lab, or one of its nodes, is not there any more: whatever else then fails,
        that is why."""

    def usage(self) -> Mapping[str, Mapping[str, float]]:
        """What each node, and WAN, has used, where something counts it per node: the fields of
        `harness.runtime.docker.figures.Usage`; {} where nothing does. Raises LabFailure."""

    def facts(self) -> Mapping[str, object]:
        """What the result should record about this runtime: name, privileges, kernel, versions (plain JSON)."""
