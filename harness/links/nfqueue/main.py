"""The emulator as a process: one JSON object per line on stdin, one answer per line on stdout.

    {"op": "apply", "links": [{"queue", "source", "target", "impairment"}, ...]}    once, before any rule sends packets
    {"op": "change", "source", "target", "impairment"}      -> {"ok": true, "at_s": CLOCK_MONOTONIC}
    {"op": "cut" | "heal", "source", "target"}              -> {"ok": true, "at_s": ...}
    {"op": "read_back"}     -> {"ok": true, "links": [{"source", "target", "impairment", "cut"}, ...]}
    {"op": "evidence"}      -> {"ok": true, ...}
    {"op": "alive"}         -> {"ok": true}
    {"op": "stop"}          -> {"ok": true}, then it ends

A request that fails is answered {"ok": false, "error": ...} and changes nothing. End of stdin ends the process.
With the argument "--try" it only finds out whether queues can be bound here: exit status 0, or 1 and why on stderr.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
import time
from typing import Any, Callable, Mapping

from harness.links.nfqueue.engine import Engine

__all__ = ["Control", "main"]

_PR_SET_TIMERSLACK = 29
_MCL_CURRENT_AND_FUTURE = 3
_REAL_TIME_PRIORITY = 30
_TRIAL_QUEUE = 65_534


class Control:
    """Carries out the requests of one stdin on one engine."""

    def __init__(self, engine: Engine, scheduling: Mapping[str, Any], requests: int, answers: int) -> None:
        self._engine = engine
        self._scheduling = scheduling
        self._requests = requests
        self._answers = answers
        self._partial = b""
        self._operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "apply": self._apply,
            "change": self._change,
            "cut": self._cut,
            "heal": self._heal,
            "read_back": self._read_back,
            "evidence": self._evidence,
            "alive": lambda request: {},
            "stop": lambda request: {},
        }

    def serve(self) -> bool:
        """Read what stdin holds and answer it; False when the process is to end."""
        chunk = os.read(self._requests, 1 << 20)
        if not chunk:
            return False
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        return all(self._answer(line) for line in lines if line.strip())

    def _answer(self, line: bytes) -> bool:
        operation = ""
        try:
            request = json.loads(line)
            operation = request["op"]
            answer = {"ok": True, **self._operations[operation](request)}
        except (ValueError, KeyError, TypeError, OSError) as error:
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        data = json.dumps(answer).encode() + b"\n"
        while data:
            data = data[os.write(self._answers, data) :]
        return operation != "stop"

    def _apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        for link in request["links"]:
            self._engine.add(link["queue"], link["source"], link["target"], link["impairment"])
        gc.collect()
        gc.freeze()
        return {"at_s": time.monotonic()}

    def _change(self, request: Mapping[str, Any]) -> dict[str, Any]:
        at_ns = self._engine.change(request["source"], request["target"], request["impairment"])
        return {"at_s": at_ns * 1e-9}

    def _cut(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"at_s": self._engine.cut(request["source"], request["target"]) * 1e-9}

    def _heal(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"at_s": self._engine.heal(request["source"], request["target"]) * 1e-9}

    def _read_back(self, request: Mapping[str, Any]) -> dict[str, Any]:
        links: list[dict[str, Any]] = [
            {"source": link.source, "target": link.target, "impairment": link.effect.description, "cut": link.cut}
            for link in self._engine.links.values()
        ]
        return {"links": links}

    def _evidence(self, request: Mapping[str, Any]) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            **self._engine.evidence(),
            "scheduling": dict(self._scheduling),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "at_s": time.monotonic(),
        }


def _become_punctual() -> dict[str, Any]:
    """Ask for real-time priority, exact timers and resident memory; tells what was granted."""
    granted: dict[str, Any] = {"class": "SCHED_OTHER", "priority": 0}
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_REAL_TIME_PRIORITY))
        granted = {"class": "SCHED_FIFO", "priority": _REAL_TIME_PRIORITY}
    except OSError as error:
        granted["refused"] = f"real-time priority: {error.strerror}"
    libc = ctypes.CDLL(None, use_errno=True)
    granted["timer_slack_1ns"] = libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0
    granted["memory_locked"] = libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0
    return granted


def main() -> int:
    """Run the emulator until it is told to stop; the exit status."""
    try:
        engine = Engine()
        if sys.argv[1:] == ["--try"]:
            engine.add(_TRIAL_QUEUE, "", "", {})
            return 0
    except OSError as error:
        sys.stderr.write(f"NFQUEUE cannot be used here: {error}\n")
        return 1
    gc.disable()
    control = Control(engine, _become_punctual(), sys.stdin.fileno(), sys.stdout.fileno())
    try:
        engine.run(sys.stdin.fileno(), control.serve)
    finally:
        engine.close()
    return 0
