"""The `fake` runtime: nodes are directories, processes run on this host as they are, and there is no network.

It carries the whole pipeline in seconds wherever Python runs, for first steps and for tests. Only buses without
components can be used in it, since nothing here may listen outside a namespace of its own.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import LabFailure
from harness.plan.cell import LabPlan
from harness.runtime.host_files import HostFiles
from harness.runtime.host_processes import HostProcess, HostProcesses
from harness.runtime.protocol import Completed

__all__ = ["FakeRuntime"]


class FakeRuntime:
    """Nodes as directories. See `harness.runtime.protocol.Runtime` for the contract."""

    name = "fake"

    def __init__(self, run_id: str, logs: Path) -> None:
        self._run_id = run_id
        self._logs = logs
        self._files: HostFiles
        self._processes: HostProcesses

    @property
    def python(self) -> str:
        return sys.executable

    def __enter__(self) -> FakeRuntime:
        self._files = HostFiles(self._run_id, self._logs)
        self._processes = HostProcesses(self._files)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._processes.end()
        self._files.remove()

    def open(self, plan: LabPlan) -> None:
        self._files.make_workdirs(node.name for node in plan.nodes)

    def workdir(self, node: str) -> str:
        return self._files.workdir(node)

    def put(self, node: str, source: Path, name: str) -> str:
        return self._files.put(node, source, name)

    def get(self, node: str, path: str, target: Path) -> None:
        self._files.get(node, path, target)

    def start(
        self,
        node: str,
        argv: Sequence[str],
        *,
        log: str,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> HostProcess:
        return self._processes.start(node, argv, log=log, env=env, cwd=cwd)

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        return self._processes.run(node, argv, timeout_s=timeout_s, input=input, env=env)

    def log_text(self, log: str, *, last_bytes: int = 4096) -> str:
        return self._files.log_text(log, last_bytes)

    def interface(self, site: str) -> str:
        raise LabFailure("the fake runtime has no network", where=site, remedy="--runtime local")

    def check(self) -> None:
        return None

    def usage(self) -> Mapping[str, Mapping[str, float]]:
        return {}

    def facts(self) -> Mapping[str, object]:
        return {
            "runtime": self.name,
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
        }
