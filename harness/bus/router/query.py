"""Asks a router about itself over AMQP management, from inside its node. Node-side: needs `proton`, Python >= 3.8.

    query.pyz ask PORT TYPE...            prints {"TYPE": [{attribute: value}, ...], ...} as JSON
    query.pyz wait PORT SECONDS ROUTER... exit 0 once the router sees these interior routers (ROUTER=COST: at that cost)
    query.pyz wait PORT SECONDS --uplink  exit 0 once the edge router is joined to an interior one

Entity types come without prefix; skupper-router's is tried first, then qpid-dispatch's. Other ends exit 1, with what
was seen last, or the reason, on standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Dict, Sequence

import proton
from proton.utils import BlockingConnection

__all__ = ["ManagementClient", "main"]

# Proton's container reads every certificate authority of the system at its start, a fifth of a second of CPU time;
# nothing here is encrypted.
os.environ.setdefault("SSL_CERT_FILE", os.devnull)

_PREFIXES = ("io.skupper.router.", "org.apache.qpid.dispatch.")
_HOST = "127.0.0.1"
_PAUSE_S = 0.1

Row = Dict[str, Any]


class ManagementClient:
    """A connection to a router's `$management`. All methods raise proton.ProtonException where it does not answer."""

    def __init__(self, port: int, timeout_s: float) -> None:
        self._connection = BlockingConnection(f"amqp://{_HOST}:{port}", timeout=timeout_s, allowed_mechs="ANONYMOUS")
        self._receiver = self._connection.create_receiver(None, dynamic=True, credit=10)
        self._sender = self._connection.create_sender("$management")
        self._timeout_s = timeout_s
        self._prefix = ""

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def query(self, entity: str) -> list[Row]:
        """All rows of an entity type, named without prefix. Raises LookupError where the router has no such type."""
        for prefix in (self._prefix,) if self._prefix else _PREFIXES:
            answer = self._ask(prefix + entity)
            if answer.properties.get("statusCode") == 200:
                self._prefix = prefix
                names = answer.body["attributeNames"]
                return [dict(zip(names, row)) for row in answer.body["results"]]
        raise LookupError(f"{entity}: {answer.properties.get('statusDescription')}")

    def _ask(self, entity: str) -> proton.Message:
        request = proton.Message(
            reply_to=self._receiver.link.remote_source.address,
            correlation_id=1,
            properties={"operation": "QUERY", "type": "org.amqp.management", "entityType": entity, "name": "self"},
            body={"attributeNames": []},
        )
        self._sender.send(request)
        # Routers send answers settled, so there is nothing to accept.
        return self._receiver.receive(timeout=self._timeout_s)


def plain(value: Any) -> Any:
    """An AMQP value as plain JSON."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


def ask(port: int, entities: Sequence[str]) -> int:
    """Print the rows of each entity type."""
    client = ManagementClient(port, 10.0)
    try:
        print(json.dumps({entity: plain(client.query(entity)) for entity in entities}))
    finally:
        client.close()
    return 0


def wait(port: int, seconds: float, wanted: Sequence[str], uplink: bool) -> int:
    """Wait until the router is part of what it should be part of."""
    deadline = time.monotonic() + seconds
    missing: str | None = "it does not answer"
    while missing is not None and time.monotonic() < deadline:
        missing = _look(port, deadline, wanted, uplink)
        time.sleep(_PAUSE_S if missing is not None else 0)
    if missing is not None:
        print(missing, file=sys.stderr)
    return 0 if missing is None else 1


def _look(port: int, deadline: float, wanted: Sequence[str], uplink: bool) -> str | None:
    """Over one connection, look until nothing is missing; what was, where the deadline or an error came first."""
    try:
        client = ManagementClient(port, 2.0)
        try:
            while True:
                missing = _missing(client, wanted, uplink)
                if missing is None or time.monotonic() >= deadline:
                    return missing
                time.sleep(_PAUSE_S)
        finally:
            client.close()
    except (proton.ProtonException, OSError) as error:
        return f"it does not answer ({type(error).__name__}: {error})"


def _missing(client: ManagementClient, wanted: Sequence[str], uplink: bool) -> str | None:
    if uplink:
        joined = any(
            row["role"] == "edge" and row["dir"] == "out" and row["opened"] for row in client.query("connection")
        )
        return None if joined else "it has no connection to an interior router"
    there = {str(row["id"]): row["cost"] for row in client.query("router.node")}
    for each in wanted:
        name, _, cost = each.partition("=")
        if name not in there:
            return f"it does not see {name}"
        if cost and there[name] != int(cost):
            return f"it sees {name} at a cost of {there[name]}, not {cost}"
    return None


def main() -> int:
    """The command."""
    operation, port, *rest = sys.argv[1:]
    try:
        if operation == "ask":
            return ask(int(port), rest)
        return wait(int(port), float(rest[0]), rest[1:], "--uplink" in rest)
    except (proton.ProtonException, OSError, LookupError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
