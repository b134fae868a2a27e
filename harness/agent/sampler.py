"""The process sampler: memory, descriptors and CPU of named processes and their descendants, once a second.

Commands, one JSON object per line:

    {"watch": {name: pid, ...}}     watch these as well (a name already watched gets a new root process)
    {"lightly": [name, ...]}        of these read CPU and threads alone, which costs microseconds, not milliseconds
    {"forget": [name, ...]}         watch these no longer
    {"record": path}                write samples to that file as well, one JSON line each
    {"interval_s": 1.0}             time between samples

Messages:

    {"type": "sample", "t": s, "name", "pid", "comm", "root": bool, "rss", "pss", "uss", "anonymous", "swap",
     "fds", "sockets", "threads", "cpu_user_s", "cpu_system_s"}     (sampled lightly: no memory, no descriptors)
    {"type": "vanished", "t": s, "name", "pid"}
    {"type": "error", "class", "message", "phase"}

`t` is CLOCK_MONOTONIC, all samples of one round share it; sizes are bytes, times seconds. End of input ends it.
"""

from __future__ import annotations

import json
import threading
from typing import Any, BinaryIO

from harness.agent import proc
from harness.agent.channel import Channel
from harness.agent.clock import now, sleep_until

__all__ = ["run_sampler"]


class Sampler:
    """The processes watched, and one round of samples."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._roots: dict[str, int] = {}
        self._known: dict[tuple[str, int], int] = {}
        self._lightly: set[str] = set()
        self._file: BinaryIO | None = None
        self.interval_s = 1.0

    def carry_out(self, command: dict[str, Any]) -> None:
        """Carry out one command. Raises ValueError or OSError with what is wrong with it."""
        with self._lock:
            for key, value in command.items():
                if key == "watch":
                    for name, pid in value.items():
                        self._roots[str(name)] = int(pid)
                        self._known[str(name), int(pid)] = _started(int(pid))
                elif key == "lightly":
                    self._lightly.update(map(str, value))
                elif key == "forget":
                    self._lightly.difference_update(value)
                    for name in value:
                        self._roots.pop(name, None)
                        for seen in [seen for seen in self._known if seen[0] == name]:
                            del self._known[seen]
                elif key == "record":
                    self._file = open(value, "ab", buffering=0)  # noqa: SIM115, PTH123
                elif key == "interval_s":
                    self.interval_s = max(0.05, float(value))
                else:
                    raise ValueError(f"unknown key: {key!r}")

    def round(self) -> None:
        """Sample every watched process that is there; tell of those that no longer are."""
        t = now() / 1e9
        with self._lock:
            if not self._roots:
                return
            children = proc.children_of()
            seen: dict[tuple[str, int], int] = {}
            for name, root in self._roots.items():
                for pid in _descendants(root, children):
                    self._sample(t, name, pid, pid == root, seen)
            for name, pid in self._known.keys() - seen.keys():
                self._emit({"type": "vanished", "t": t, "name": name, "pid": pid})
            self._known = seen

    def _sample(self, t: float, name: str, pid: int, root: bool, seen: dict[tuple[str, int], int]) -> None:
        started = _started(pid)
        if started < 0 or self._known.get((name, pid), started) != started:
            return  # gone, or another process under the same id
        try:
            sample = proc.cost(pid) if name in self._lightly else proc.sample(pid)
        except (OSError, IndexError, ValueError):
            return
        seen[name, pid] = started
        self._emit({"type": "sample", "t": t, "name": name, "root": root, **sample})

    def _emit(self, message: dict[str, Any]) -> None:
        self._channel.send(**message)
        if self._file is not None:
            try:
                self._file.write((json.dumps(message, separators=(",", ":")) + "\n").encode())
            except OSError as error:
                self._file = None
                self._channel.fault("record", error)


def _started(pid: int) -> int:
    """When the process started, -1 if it is not there."""
    try:
        return proc.start_time(pid)
    except (OSError, IndexError, ValueError):
        return -1


def _descendants(root: int, children: dict[int, list[int]]) -> list[int]:
    found, at = [root], 0
    while at < len(found):
        found.extend(child for child in children.get(found[at], ()) if child not in found)
        at += 1
    return found


def run_sampler() -> int:
    """Sample until end of input; the exit status."""
    channel = Channel()
    sampler = Sampler(channel)
    stop = threading.Event()

    def listen() -> None:
        for command in channel.lines():
            try:
                sampler.carry_out(command)
            except (ValueError, TypeError, AttributeError, OSError) as error:  # noqa: PERF203
                channel.fault("command", error)
        stop.set()

    threading.Thread(target=listen, name="control", daemon=True).start()
    due = now()
    while sleep_until(due, stop):
        sampler.round()
        due = max(due + int(sampler.interval_s * 1e9), now())
    return 0
