"""Answers AMQP management QUERY requests on `$management`, in the words the real routers use.

Entity types are taken with either prefix, `io.skupper.router` or `org.apache.qpid.dispatch`; attribute names and their
meanings are those of skupper-router's management schema, as far as the embedded router has something to say.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict

import proton

from harness.bus.router.embedded.links import Inbound
from harness.bus.router.embedded.outcomes import ACCEPTED

__all__ = ["Management", "resident_bytes"]

_PREFIXES = ("io.skupper.router.", "org.apache.qpid.dispatch.")
_OK, _BAD_REQUEST, _NOT_IMPLEMENTED = 200, 400, 501

Row = Dict[str, Any]


class Management:
    """The receiver behind `$management`.

    Args:
        tables: for each entity type (without prefix), what gives its rows now.
        reply: sends an encoded message to an address.
    """

    capacity = 250
    load = 0

    def __init__(self, tables: dict[str, Callable[[], list[Row]]], reply: Callable[[str, bytes], bool]) -> None:
        self._tables = tables
        self._reply = reply

    def offer(self, data: bytes, inbound: Inbound | None) -> None:
        """A request has come."""
        request = proton.Message()
        try:
            request.decode(data)
            answer = self._answer(request)
        except Exception as error:  # whatever a client sends must not end the router
            answer = _failure(_BAD_REQUEST, f"{type(error).__name__}: {error}")
        if inbound is not None:
            inbound.settle(ACCEPTED)
        if request.reply_to:
            answer.address = request.reply_to
            answer.correlation_id = request.correlation_id if request.correlation_id is not None else request.id
            self._reply(request.reply_to, bytes(answer.encode()))

    def _answer(self, request: proton.Message) -> proton.Message:
        properties = request.properties or {}
        operation = properties.get("operation")
        if operation != "QUERY":
            return _failure(_NOT_IMPLEMENTED, f"No such operation {operation!r}")
        entity = str(properties.get("entityType") or "")
        table = next(
            (self._tables.get(entity[len(prefix) :]) for prefix in _PREFIXES if entity.startswith(prefix)), None
        )
        if table is None:
            return _failure(_BAD_REQUEST, f"No such entity type '{entity}'")
        rows = table()
        for row in rows:
            row["type"] = entity
        body = request.body if isinstance(request.body, dict) else {}
        names = [str(name) for name in body.get("attributeNames") or []] or sorted({key for row in rows for key in row})
        start = int(properties.get("offset") or 0)
        count = properties.get("count")
        chosen = rows[start:] if count is None else rows[start : start + int(count)]
        return proton.Message(
            properties={"statusCode": proton.int32(_OK), "statusDescription": "OK"},
            body={"attributeNames": names, "results": [[row.get(name) for name in names] for row in chosen]},
        )


def _failure(status: int, description: str) -> proton.Message:
    return proton.Message(properties={"statusCode": proton.int32(status), "statusDescription": description})


def resident_bytes() -> tuple[int, int]:
    """Virtual and resident size of this process, bytes (Linux: /proc/self/statm)."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - node-side, kept plain
        pages = [int(field) for field in statm.read().split()[:2]]
    size = os.sysconf("SC_PAGE_SIZE")
    return pages[0] * size, pages[1] * size


def seconds_since(start: float) -> int:
    """Whole seconds of monotonic time since then."""
    return int(time.monotonic() - start)
