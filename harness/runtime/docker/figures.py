"""What each container uses, as the engine counts it: CPU, memory, network; about once a second, on the side."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import LabFailure
from harness.runtime.docker.engine import Engine, engine_errors

__all__ = ["Figures", "Usage", "read_usage"]

#: An engine takes some milliseconds for one container: at most this many per second.
_PER_SECOND = 16


@dataclass(frozen=True, slots=True)
class Usage:
    """A container's figures.

    Attributes:
        cpu_s: CPU time used since it began, seconds.
        throttled_s: time its processes were held back by its CPU limit, seconds.
        memory_bytes: memory in use now, without the page cache the kernel can drop at once.
        memory_peak_bytes: the most that was seen.
        received_bytes, sent_bytes: over all its interfaces but the loopback.
    """

    cpu_s: float
    throttled_s: float
    memory_bytes: int
    memory_peak_bytes: int
    received_bytes: int
    sent_bytes: int


def read_usage(stats: Mapping[str, Any]) -> Usage | None:
    """The figures in an answer to `GET /containers/{id}/stats`; None if the container does not run. Pure.

    Page cache is taken off memory as the engine's own client does: `total_inactive_file` (cgroup v1) or
    `inactive_file` (v2).
    """
    memory, cpu = stats.get("memory_stats") or {}, stats.get("cpu_stats") or {}
    if "usage" not in memory:
        return None
    detail = memory.get("stats") or {}
    droppable = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    used = max(0, int(memory["usage"]) - int(droppable))
    networks = (stats.get("networks") or {}).values()
    return Usage(
        cpu_s=int((cpu.get("cpu_usage") or {}).get("total_usage", 0)) / 1e9,
        throttled_s=int((cpu.get("throttling_data") or {}).get("throttled_time", 0)) / 1e9,
        memory_bytes=used,
        memory_peak_bytes=used,
        received_bytes=sum(int(one.get("rx_bytes", 0)) for one in networks),
        sent_bytes=sum(int(one.get("tx_bytes", 0)) for one in networks),
    )


class Figures:
    """Reads the figures of all containers in turn, keeps the latest and the peaks, and writes all of them down.

    Args:
        containers: (node, id of its container), in order.
        file: receives a table: t_s (CLOCK_MONOTONIC), node, and the fields of Usage.
    """

    def __init__(self, engine: Engine, containers: Sequence[tuple[str, str]], file: Path) -> None:
        self._engine = engine
        self._containers = list(containers)
        self._file = file
        self._latest: dict[str, Usage] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="figures", daemon=True)
        self._thread.start()

    def read(self) -> dict[str, dict[str, float]]:
        """Fresh figures of every node whose container runs. Raises LabFailure."""
        for node, container in self._containers:
            self._look(node, container)
        return {node: dict(asdict(usage)) for node, usage in self._latest.items()}

    def stop(self) -> None:
        """End watching."""
        self._stop.set()
        self._thread.join(5.0)

    def _look(self, node: str, container: str) -> Usage | None:
        api: Any = self._engine.api
        with engine_errors("reading a container's figures", node):
            usage = read_usage(api.stats(container, stream=False, one_shot=True))
        if usage is not None:
            before = self._latest.get(node, usage)
            usage = replace(usage, memory_peak_bytes=max(usage.memory_bytes, before.memory_peak_bytes))
            self._latest[node] = usage
        return usage

    def _watch(self) -> None:
        pause = max(1.0, len(self._containers) / _PER_SECOND)
        with self._file.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["t_s", "node", *Usage.__dataclass_fields__])
            while not self._stop.is_set():
                began = time.monotonic()
                for node, container in self._containers:
                    if self._stop.is_set():
                        return
                    try:
                        usage = self._look(node, container)
                    except LabFailure:
                        continue  # whoever needs the engine finds out; figures are not worth a failure
                    if usage is not None:
                        table.writerow([f"{time.monotonic():.3f}", node, *asdict(usage).values()])
                file.flush()
                self._stop.wait(max(0.1, pause - (time.monotonic() - began)))
