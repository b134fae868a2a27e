"""Files of runtimes whose nodes share this host's file system: a directory per node, a log per process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.errors import LabFailure
from harness.runtime.labs import LabRecord
from harness.runtime.protocol import WAN

__all__ = ["HostFiles"]


class HostFiles:
    """The file half of the runtime contract (see `harness.runtime.protocol.Runtime`).

    Args:
        run_id: goes into the name of the scratch directory.
        logs: directory that receives <log>.log of every process.
    """

    def __init__(self, run_id: str, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self._record = LabRecord.begin(run_id)
        self.scratch = Path(self._record.scratch)

    def held_by(self, holder: int) -> None:
        """Note the process whose end is the end of the lab."""
        self._record = self._record.held_by(holder)

    def make_workdirs(self, nodes: Iterable[str]) -> None:
        """Make the working directory of each node, and of the wan gateway."""
        for name in (WAN, *nodes):
            Path(self.workdir(name)).mkdir(parents=True)

    def workdir(self, node: str) -> str:
        """The node's own directory."""
        return str(self.scratch / "nodes" / node)

    def put(self, node: str, source: Path, name: str) -> str:
        """Copy a file or directory tree into the node's directory; returns its path."""
        target = Path(self.workdir(node), name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
        return str(target)

    def get(self, node: str, path: str, target: Path) -> None:
        """Copy a file or directory of the node to `target`. Raises LabFailure."""
        try:
            if Path(path).is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copy2(path, target)
        except OSError as error:
            raise LabFailure(f"cannot fetch {Path(path).name}: {error.strerror}", where=node) from error

    def log_text(self, log: str, last_bytes: int) -> str:
        """The end of a log, "" if there is none."""
        try:
            with (self.logs / f"{log}.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def remove(self) -> None:
        """Remove everything but the logs."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self._record.remove()
