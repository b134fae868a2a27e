"""The prober as a process: one JSON object per line on stdin, one answer per line on stdout.

    (at start)                                                       -> {"ready", "udp", "tcp", "clock", "congestion"}
    {"op": "probe", "targets": [{"address", "port", "spacing_s"}], "count", "size", "wait_s"}
                                                                     -> {"flights": [...]}
    {"op": "sink", "timeout_s"}                    -> {"bytes", "seconds", "connections", "steady_bytes_per_s"}
    {"op": "send", "address", "port", "seconds", "congestion", "timeout_s"}
                                                                     -> {"connect_s", "congestion", "segment_bytes"}

While it has nothing to do it answers echoes. The first argument is the address family, 4 or 6. End of stdin ends it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from pathlib import Path
from typing import Any, Mapping

from harness.links.prober.echo import Echo
from harness.links.prober.stream import Sink, send

__all__ = ["main"]


def _clock() -> str:
    """Names this node's CLOCK_REALTIME: equal on two nodes of one running kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _congestion() -> str:
    try:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    except OSError:
        return ""


def _carry_out(request: Mapping[str, Any], echo: Echo, sink: Sink) -> dict[str, Any]:
    operation = request.get("op")
    if operation == "probe":
        echo.probe(request["targets"], request["count"], request["size"], request["wait_s"])
        return {"flights": [flight.report() for flight in echo.flights]}
    if operation == "sink":
        return sink.receive(request["timeout_s"])
    if operation == "send":
        return send(
            request["address"], request["port"], request["seconds"], request.get("congestion"), request["timeout_s"]
        )
    return {"error": f"unknown request {operation!r}"}


def main() -> int:
    """Serve until stdin ends; the exit status."""
    family = socket.AF_INET6 if sys.argv[1:] == ["6"] else socket.AF_INET
    echo, sink = Echo(family), Sink(family)
    ready = {"ready": True, "udp": echo.port, "tcp": sink.port, "clock": _clock(), "congestion": _congestion()}
    requests, partial = sys.stdin.fileno(), b""
    os.write(1, json.dumps(ready).encode() + b"\n")
    while True:
        readable = select.select([requests, echo.socket], [], [])[0]
        if echo.socket in readable:
            echo.receive()
        if requests not in readable:
            continue
        chunk = os.read(requests, 1 << 16)
        if not chunk:
            return 0
        *lines, partial = (partial + chunk).split(b"\n")
        for line in lines:
            data = json.dumps(_carry_out(json.loads(line), echo, sink)).encode() + b"\n"
            while data:
                data = data[os.write(1, data) :]
