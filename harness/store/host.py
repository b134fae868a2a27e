"""Facts about the machine a run was made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["host_facts"]


def _first(path: str, key: str) -> str | None:
    try:
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":" if ":" in line else "=")
            if name.strip() == key:
                return value.strip().strip('"')
    except OSError:
        pass
    return None


def host_facts() -> dict[str, Any]:
    """Kernel, distribution, processor, memory, Python and the TCP congestion control in force (plain JSON)."""
    memory = _first("/proc/meminfo", "MemTotal")
    try:
        congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii").strip()
    except OSError:
        congestion = None
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "distribution": _first("/etc/os-release", "PRETTY_NAME"),
        "processor": _first("/proc/cpuinfo", "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory.split()[0]) * 1024 if memory else None,
        "python": platform.python_version(),
        "tcp_congestion_control": congestion,
    }
