"""Watches the load of a cell: keeps the samples until they are stored, and makes the once-a-second figures."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from harness.agent.tally import bucket_floor
from harness.lab.observer import Tick
from harness.plan.cell import CellPlan
from harness.store.samples import PROCESS_SCHEMA

__all__ = ["LoadWatch"]

_COLUMNS = set(PROCESS_SCHEMA.names)
#: Seconds of latency the live percentiles look back on; seconds of throughput the live rate does.
_LATENCY_WINDOW = 5
_RATE_WINDOW_S = 2.0


class LoadWatch:
    """Takes samples from sampler threads and progress from agents."""

    def __init__(self, plan: CellPlan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._samples: list[dict[str, Any]] = []
        roles = {agent.name: str(agent.role) for agent in plan.agents}
        self._roles = {**roles, **{node.name: "bus" for bus in plan.buses for node in bus.nodes}}
        self._clients = [agent.index for agent in plan.agents if agent.role == "client"]
        self._memory: dict[tuple[str, int], int] = {}
        self._histograms: deque[dict[int, int]] = deque(maxlen=_LATENCY_WINDOW)
        self._seen: dict[int, Any] = {}
        self._done: deque[tuple[float, int]] = deque()

    def sample(self, node: str, message: Mapping[str, Any]) -> None:
        """Take in one message of a node's sampler; from its reading thread."""
        if message.get("type") != "sample":
            with self._lock:
                self._memory.pop((str(message.get("name")), int(message.get("pid", 0))), None)
            return
        name = str(message["name"])
        row = {key: value for key, value in message.items() if key in _COLUMNS}
        row |= {"t_ns": int(message["t"] * 1e9), "node": node, "process": name, "role": self._roles.get(name, "other")}
        with self._lock:
            self._samples.append(row)
            if message.get("anonymous") is not None:
                self._memory[name, int(message["pid"])] = int(message["anonymous"])

    def drain_samples(self) -> list[dict[str, Any]]:
        """The samples since the last call, as rows of harness.store.samples.PROCESS_SCHEMA."""
        with self._lock:
            samples, self._samples = self._samples, []
        return samples

    def tick(self, t_s: float, progress: Mapping[int, Mapping[str, Any]]) -> Tick:
        """The figures of this second.

        Args:
            t_s: seconds since go.
            progress: the latest progress of every agent by index.
        """
        clients = [progress[index] for index in self._clients if progress.get(index)]
        total = {key: sum(int(one.get(key) or 0) for one in clients) for key in ("due", "sent", "done")}
        failed = sum(sum(dict(one.get("failed") or {}).values()) for one in clients)
        fresh: dict[int, int] = {}
        for index in self._clients:
            latest = progress.get(index)
            if latest and self._seen.get(index) is not latest:
                self._seen[index] = latest
                for slot, count in dict(latest.get("histogram") or {}).items():
                    fresh[int(slot)] = fresh.get(int(slot), 0) + int(count)
        self._histograms.append(fresh)
        self._done.append((t_s, total["done"]))
        while len(self._done) > 1 and t_s - self._done[0][0] > _RATE_WINDOW_S + 0.5:
            self._done.popleft()
        (t0, d0), (t1, d1) = self._done[0], self._done[-1]
        with self._lock:
            memory: dict[str, int] = {}
            for (name, _), size in self._memory.items():
                role = self._roles.get(name, "other")
                memory[role] = memory.get(role, 0) + size
        p50, p99 = self._percentiles()
        return Tick(
            t_s=t_s,
            of_s=self._plan.phases.load_s,
            due=total["due"],
            sent=total["sent"],
            done=total["done"],
            failed=failed,
            rate_per_s=(d1 - d0) / (t1 - t0) if t1 > t0 else 0.0,
            p50_s=p50,
            p99_s=p99,
            memory_bytes=memory,
        )

    def _percentiles(self) -> tuple[float | None, float | None]:
        merged: dict[int, int] = {}
        for histogram in self._histograms:
            for slot, count in histogram.items():
                merged[slot] = merged.get(slot, 0) + count
        total = sum(merged.values())
        if not total:
            return None, None
        found: list[float] = []
        for share in (0.5, 0.99):
            rank, below = share * total, 0
            for slot in sorted(merged):
                below += merged[slot]
                if below >= rank:
                    found.append(bucket_floor(slot) / 1e9)
                    break
        return found[0], found[1]
