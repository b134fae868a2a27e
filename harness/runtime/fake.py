"""The `fake` runtime: nodes are directories, processes run on this host as they are, and there is no network.

It carries the whole pipeline in seconds wherever Python runs, for first steps and for tests. Only buses without
components can be used in it, since nothing here may listen outside a namespace of its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from harness.errors import LabFailure
from harness.plan.cell import LabPlan
from harness.runtime.host_files import HostFiles
from harness.runtime.protocol import Completed

__all__ = ["FakeProcess", "FakeRuntime"]


class FakeProcess:
    """A process of the host; see `NodeProcess`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self.stdin: IO[bytes] = process.stdin
        self.stdout: IO[bytes] = io.BufferedReader(cast("io.FileIO", process.stdout))

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: int) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class FakeRuntime:
    """Nodes as directories. See `harness.runtime.protocol.Runtime` for the contract."""

    name = "fake"

    def __init__(self, run_id: str, logs: Path) -> None:
        self._run_id = run_id
        self._logs = logs
        self._files: HostFiles
        self._processes: list[FakeProcess] = []

    @property
    def python(self) -> str:
        return sys.executable

    def __enter__(self) -> FakeRuntime:
        self._files = HostFiles(self._run_id, self._logs)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes:
            process.signal(signal.SIGTERM)
        for process in self._processes:
            if process.wait(3.0) is None:
                process.signal(signal.SIGKILL)
                process.wait(3.0)
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()
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
    ) -> FakeProcess:
        with (self._files.logs / f"{log}.log").open("ab") as stderr:
            try:
                process = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    cwd=cwd or self.workdir(node),
                    env=self._environment(node, env),
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                raise LabFailure(f"{argv[0]}: {error.strerror}", where=f"starting {argv[0]} in {node}") from error
        started = FakeProcess(process)
        self._processes.append(started)
        return started

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        try:
            done = subprocess.run(
                list(argv),
                input=input,
                capture_output=True,
                timeout=timeout_s,
                cwd=self.workdir(node),
                env=self._environment(node, env),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabFailure(f"`{' '.join(argv)}` did not end in {timeout_s:g} s", where=node) from None
        except OSError as error:
            raise LabFailure(f"{argv[0]}: {error.strerror}", where=f"starting {argv[0]} in {node}") from error
        return Completed(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def _environment(self, node: str, extra: Mapping[str, str] | None) -> dict[str, str]:
        base = {"PATH": os.environ.get("PATH", os.defpath), "HOME": self.workdir(node), "LANG": "C.UTF-8"}
        return {**base, **(extra or {})}

    def log_text(self, log: str, *, last_bytes: int = 4096) -> str:
        return self._files.log_text(log, last_bytes)

    def interface(self, site: str) -> str:
        raise LabFailure("the fake runtime has no network", where=site, remedy="--runtime local")

    def facts(self) -> Mapping[str, object]:
        return {
            "runtime": self.name,
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
        }
