"""Processes on this host itself, for runtimes whose nodes are reached from it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, cast

from harness.errors import LabFailure
from harness.runtime.host_files import HostFiles
from harness.runtime.protocol import Completed

__all__ = ["HostProcess", "HostProcesses"]


class HostProcess:
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


class HostProcesses:
    """The process half of the runtime contract (see `harness.runtime.protocol.Runtime`) on this host.

    Args:
        files: where logs and working directories are.
    """

    def __init__(self, files: HostFiles) -> None:
        self._files = files
        self._processes: list[HostProcess] = []

    def start(
        self,
        node: str,
        argv: Sequence[str],
        *,
        log: str,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        inside: Sequence[str] = (),
    ) -> HostProcess:
        """Start a process; `inside` is the command that enters where it is to run and becomes it. Raises LabFailure."""
        with (self._files.logs / f"{log}.log").open("ab") as stderr:
            try:
                process = subprocess.Popen(
                    [*inside, *argv],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    cwd=cwd or self._files.workdir(node),
                    env=self._environment(node, env),
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                raise LabFailure(f"{argv[0]}: {error.strerror}", where=f"starting {argv[0]} in {node}") from error
        started = HostProcess(process)
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
        inside: Sequence[str] = (),
    ) -> Completed:
        """Run a short command and wait for it. Raises LabFailure."""
        try:
            done = subprocess.run(
                [*inside, *argv],
                input=input,
                capture_output=True,
                timeout=timeout_s,
                cwd=self._files.workdir(node),
                env=self._environment(node, env),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabFailure(f"`{' '.join(argv)}` did not end in {timeout_s:g} s", where=node) from None
        except OSError as error:
            raise LabFailure(f"{argv[0]}: {error.strerror}", where=f"starting {argv[0]} in {node}") from error
        return Completed(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def end(self) -> None:
        """End every process that still runs, politely at first."""
        for process in self._processes:
            process.signal(signal.SIGTERM)
        for process in self._processes:
            if process.wait(3.0) is None:
                process.signal(signal.SIGKILL)
                process.wait(3.0)
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()

    def _environment(self, node: str, extra: Mapping[str, str] | None) -> dict[str, str]:
        base = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": self._files.workdir(node),
            "LANG": "C.UTF-8",
        }
        return {**base, **(extra or {})}
