"""What /proc tells about a process: memory, descriptors, threads, CPU. Bytes and seconds. Linux only."""

from __future__ import annotations

import os
from typing import Any

__all__ = [
    "children_of",
    "cost",
    "cpu_seconds",
    "descriptor_kinds",
    "descriptors",
    "memory",
    "sample",
    "start_time",
    "threads",
]

_TICK = os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    with open(path, errors="replace") as file:  # noqa: PTH123
        return file.read()


def memory(pid: int) -> dict[str, int]:
    """rss, pss, uss, anonymous and swap of a process, bytes, from smaps_rollup (2-14 ms: at most once a second).

    uss is Private_Clean + Private_Dirty; anonymous is what the process really owns. Raises OSError if it is gone.
    """
    values: dict[str, int] = {}
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines()[1:]:
        key, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            values[key] = int(number[0]) * 1024
    if "Rss" not in values:
        raise ProcessLookupError(f"process {pid} has no memory any more")
    return {
        "rss": values["Rss"],
        "pss": values.get("Pss", 0),
        "uss": values.get("Private_Clean", 0) + values.get("Private_Dirty", 0),
        "anonymous": values.get("Anonymous", 0),
        "swap": values.get("Swap", 0),
    }


def descriptors(pid: int) -> tuple[int, int]:
    """Open file descriptors, and how many of them are sockets. Raises OSError if the process is gone."""
    targets = [_target(path) for path in _descriptor_paths(pid)]
    return len(targets), sum(target.startswith("socket:") for target in targets)


def descriptor_kinds(pid: int) -> dict[str, int]:
    """Open file descriptors by what they are: "pipe", "socket", "eventfd" and the like, or the path of a file. Raises
    OSError if the process is gone."""
    kinds: dict[str, int] = {}
    for target in filter(None, map(_target, _descriptor_paths(pid))):
        kind = target if target.startswith("/") else target.replace("anon_inode:", "").partition(":")[0].strip("[]")
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def _descriptor_paths(pid: int) -> list[str]:
    directory = f"/proc/{pid}/fd"
    return [f"{directory}/{name}" for name in os.listdir(directory)]  # noqa: PTH208


def _target(path: str) -> str:
    """What a descriptor leads to; "" if it is closed by now, like the one that lists them."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, list[str]]:
    """The command name, and the fields of /proc/PID/stat that follow it (state first)."""
    text = _read(f"/proc/{pid}/stat")
    head, _, tail = text.rpartition(")")
    return head.partition("(")[2], tail.split()


def threads(pid: int) -> int:
    """Number of threads. Raises OSError if the process is gone."""
    return int(_stat(pid)[1][17])


def start_time(pid: int) -> int:
    """When the process started, clock ticks since boot: tells a process from a later one with the same id."""
    return int(_stat(pid)[1][19])


def cpu_seconds(pid: int) -> tuple[float, float]:
    """CPU time used so far in user and in system mode, seconds. Raises OSError if the process is gone."""
    fields = _stat(pid)[1]
    return int(fields[11]) / _TICK, int(fields[12]) / _TICK


def command(pid: int) -> str:
    """The command name. Raises OSError if the process is gone."""
    return _stat(pid)[0]


def children_of() -> dict[int, list[int]]:
    """Children of every process visible here, by parent."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                parent = int(_stat(int(name))[1][1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(name))
    return children


def cost(pid: int) -> dict[str, Any]:
    """Name, threads and CPU time of one process (some microseconds). Raises OSError if the process is gone."""
    name, fields = _stat(pid)
    return {
        "pid": pid,
        "comm": name,
        "threads": int(fields[17]),
        "cpu_user_s": int(fields[11]) / _TICK,
        "cpu_system_s": int(fields[12]) / _TICK,
    }


def sample(pid: int) -> dict[str, Any]:
    """Everything above about one process, as one flat table. Raises OSError if the process is gone."""
    count, sockets = descriptors(pid)
    return {**cost(pid), **memory(pid), "fds": count, "sockets": sockets}
