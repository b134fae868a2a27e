"""The task: what an agent is told to do, as plain JSON. This is the reference of its keys.

| key        | meaning                                                                                                |
|------------|--------------------------------------------------------------------------------------------------------|
| agent      | the agent's number in the cell, 0..65534: the identity its messages carry                               |
| name       | readable identity, for logs                                                                             |
| workload   | name of the workload it belongs to (information only)                                                   |
| role       | "client" performs operations, "server" receives them (notification listeners are servers)               |
| adapter    | "oslo", "kombu", "proton", "pyngus" or "loopback"                                                       |
| driver     | "rabbit", "amqp1" or "none"                                                                             |
| url        | transport URL as oslo.messaging writes it, with the password                                           |
| options    | oslo.config options by group ("DEFAULT" for the default group); unknown ones are refused               |
| pattern    | one of PATTERNS                                                                                         |
| exchange   | control exchange                                                                                        |
| topics     | [{"topic": str, "server": str or null}]; a client takes them in turn, from a seeded start               |
| server     | the name a server listens as                                                                            |
| schedule   | see harness.agent.schedule; {} for servers                                                              |
| warmup_s   | operations due before this offset carry the WARMUP flag                                                 |
| duration_s | measured time after the warm-up; nothing is due later                                                   |
| payload    | distribution of sizes in bytes, e.g. {"kind": "fixed", "bytes": 1024}; see harness.agent.draw           |
| timeout_s  | how long an operation may take                                                                          |
| monitor_s  | call_monitor_timeout: longest silence between heartbeats of a call, or null for no heartbeats           |
| ttl_s      | time to live of messages (not oslo, which derives its own, nor loopback), or null                       |
| retry      | oslo's `retry`: reconnection attempts before an operation fails; null for the library's default         |
| workers    | threads: of a client, to send; of a server, to serve                                                    |
| most_workers | to how many a client of an open loop adds threads while all it has wait for answers; never if null    |
| seed       | all of the agent's random choices derive from it                                                        |
| behaviour  | of a server: see Behaviour                                                                              |
| notify     | see Notify                                                                                              |
| connected  | whether a client connects ahead of the load; false where it is not to find its bus                     |
| transports | connections of a client's own, used in turn: each with a client object of its library                   |
| leak       | a leak made on purpose in a client, or null: see harness.agent.leak                                    |
| record     | path of the record file, "" for none                                                                    |
| progress_s | seconds between two progress messages                                                                   |

Durations are seconds.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Mapping, TypeVar

from harness.agent.adapters import ADAPTERS
from harness.agent.draw import make_draw
from harness.agent.leak import LEAKS
from harness.agent.schedule import check_schedule

__all__ = ["CHURN", "PATTERNS", "Behaviour", "Notify", "Task", "TaskError", "Topic"]

#: What an operation may be. The churn patterns are one cycle of client life each:
#: connect = make a transport, connect, close it; transport, cast = the same with one call or cast inside; client = a
#: new client object on the standing transport and one call; topic = a cast to a new topic; abandon = close a
#: connection while it is being made; link = open and close a channel, or a pair of links to a new address; declare =
#: declare a queue nobody has named before; evented = a connection registered with kombu's event loop, cut off and given
#: up; server / listener = start and stop one; blocking = the same as connect with Proton's blocking connection.
PATTERNS = (
    "rpc-call",
    "rpc-cast",
    "rpc-fanout",
    "notify",
    "churn-connect",
    "churn-transport",
    "churn-cast",
    "churn-client",
    "churn-topic",
    "churn-abandon",
    "churn-link",
    "churn-declare",
    "churn-evented",
    "churn-blocking",
    "churn-server",
    "churn-listener",
)

CHURN = tuple(pattern for pattern in PATTERNS if pattern.startswith("churn-"))

PRIORITIES = ("audit", "debug", "info", "warn", "error", "critical", "sample")

_T = TypeVar("_T")


class TaskError(ValueError):
    """A task that cannot be carried out as written; the message names the key."""


@dataclass(frozen=True)
class Topic:
    """Where operations go: a topic, and one server on it or (None) any."""

    topic: str
    server: str | None = None


@dataclass(frozen=True)
class Behaviour:
    """How a server treats requests.

    Attributes:
        service_time: distribution of seconds it works on each, e.g. {"kind": "exponential", "mean": 0.01}.
        raise_fraction: share of requests it answers with an exception, 0..1.
        silent_fraction: share of requests it never answers: the serving thread hangs until the agent stops.
        requeue_fraction: share of notifications it gives back to the bus, once each decision is drawn, 0..1 (below 1).
        stalls: [{"at_s", "for_s"}], from go: times during which nothing is served.
        ack: "before" or "after" processing (not loopback; oslo acknowledges RPC before and notifications after), "" for
            the adapter's way.
    """

    service_time: Mapping[str, Any] = field(default_factory=dict)
    raise_fraction: float = 0.0
    silent_fraction: float = 0.0
    requeue_fraction: float = 0.0
    stalls: tuple[Mapping[str, float], ...] = ()
    ack: str = ""


@dataclass(frozen=True)
class Notify:
    """How notifications are sent and taken.

    Attributes:
        driver: oslo's notification driver: "messagingv2" or "messaging".
        priorities: taken in turn by a client; all of them are listened to by a server.
        pool: name of the pool of listeners a server belongs to, or None.
    """

    driver: str = "messagingv2"
    priorities: tuple[str, ...] = ("info",)
    pool: str | None = None


@dataclass(frozen=True)
class Task:
    """An agent's task, checked. Keys as in the module's table."""

    agent: int
    name: str
    role: str
    adapter: str
    pattern: str
    topics: tuple[Topic, ...]
    driver: str = "none"
    workload: str = ""
    url: str = ""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exchange: str = "harness"
    server: str = ""
    schedule: Mapping[str, Any] = field(default_factory=dict)
    warmup_s: float = 0.0
    duration_s: float = 0.0
    payload: Mapping[str, Any] = field(default_factory=lambda: {"kind": "fixed", "bytes": 1024})
    timeout_s: float = 10.0
    monitor_s: float | None = None
    ttl_s: float | None = None
    retry: int | None = None
    workers: int = 1
    most_workers: int | None = None
    seed: int = 0
    behaviour: Behaviour = field(default_factory=Behaviour)
    notify: Notify = field(default_factory=Notify)
    connected: bool = True
    transports: int = 1
    leak: Mapping[str, Any] | None = None
    record: str = ""
    progress_s: float = 1.0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """Check a task as it came over the control channel. Raises TaskError."""
        values = _known(cls, data, "")
        topics = values.get("topics")
        if not isinstance(topics, (list, tuple)) or not topics:
            raise TaskError("topics: at least one is needed")
        values["topics"] = tuple(_build(Topic, topic, "topics.") for topic in topics)
        values["behaviour"] = _build(Behaviour, values.get("behaviour") or {}, "behaviour.")
        values["notify"] = _build(Notify, values.get("notify") or {}, "notify.")
        task = cls(**values)
        task._check()
        return task

    @property
    def has_due_instants(self) -> bool:
        """Whether this is a client whose operations are due at instants: one with an open schedule."""
        return self.role == "client" and self.schedule["kind"] != "closed"

    def _check(self) -> None:
        _one_of("role", self.role, ("client", "server"))
        _one_of("adapter", self.adapter, tuple(ADAPTERS))
        _one_of("driver", self.driver, ("rabbit", "amqp1", "none"))
        _one_of("pattern", self.pattern, PATTERNS)
        _one_of("behaviour.ack", self.behaviour.ack, ("", "before", "after"))
        _one_of("notify.driver", self.notify.driver, ("messaging", "messagingv2"))
        for priority in self.notify.priorities:
            _one_of("notify.priorities", priority, PRIORITIES)
        if not self.notify.priorities:
            raise TaskError("notify.priorities: at least one is needed")
        _within("agent", self.agent, 0, 65534, whole=True)
        _within("workers", self.workers, 1, 4096, whole=True)
        if self.most_workers is not None:
            _within("most_workers", self.most_workers, self.workers, 4096, whole=True)
        _within("transports", self.transports, 1, 1024, whole=True)
        for key in ("warmup_s", "duration_s"):
            _within(key, getattr(self, key), 0, 1e9)
        for key in ("timeout_s", "monitor_s", "ttl_s", "progress_s"):
            if getattr(self, key) is not None:
                _within(key, getattr(self, key), 1e-3, 1e6)
        for key in ("raise_fraction", "silent_fraction", "requeue_fraction"):
            _within("behaviour." + key, getattr(self.behaviour, key), 0, 1)
        if self.behaviour.requeue_fraction == 1:
            raise TaskError("behaviour.requeue_fraction: 1 would go round for ever")
        if self.role == "server" and self.pattern in CHURN:
            raise TaskError(f"pattern: {self.pattern} is a client's")
        self._check_parts()

    def _check_parts(self) -> None:
        try:
            make_draw(self.payload, 0, "bytes")
        except ValueError as error:
            raise TaskError(f"payload.{error}") from None
        if self.behaviour.service_time:
            try:
                make_draw(self.behaviour.service_time, 0, "seconds")
            except ValueError as error:
                raise TaskError(f"behaviour.service_time.{error}") from None
        if self.role == "client":
            try:
                check_schedule(self.schedule)
            except ValueError as error:
                raise TaskError(f"schedule.{error}") from None
        if self.leak is not None:
            if not isinstance(self.leak, Mapping) or not {"what"} <= set(self.leak) <= {
                "what",
                "per_operation",
                "size",
            }:
                raise TaskError("leak: has what, and may have per_operation and size")
            _one_of("leak.what", self.leak["what"], LEAKS)
        for group, values in self.options.items():
            if not isinstance(values, Mapping):
                raise TaskError(f"options.{group}: not a table of options")


def _known(kind: type[Any], data: object, where: str) -> dict[str, Any]:
    """The values for a dataclass, checked for unknown and missing keys."""
    if not isinstance(data, Mapping):
        raise TaskError("%s: not a table" % (where.rstrip(".") or "task"))
    names = {item.name: item for item in fields(kind)}
    for key in data:
        if key not in names:
            raise TaskError("{}{}: unknown key; known are {}".format(where, key, ", ".join(sorted(names))))
    for name, item in names.items():
        if name not in data and item.default is MISSING and item.default_factory is MISSING:
            raise TaskError(f"{where}{name}: missing")
    return dict(data)


def _build(kind: type[_T], data: object, where: str) -> _T:
    values = _known(kind, data, where)
    for key, value in values.items():
        if isinstance(value, list):
            values[key] = tuple(value)
    return kind(**values)


def _one_of(key: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise TaskError("{}: {!r} is not one of {}".format(key, value, ", ".join(name or '""' for name in known)))


def _within(key: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not math.isfinite(value):
        raise TaskError("{}: {!r} is not a {}number".format(key, value, "whole " if whole else ""))
    if not low <= value <= high:
        raise TaskError(f"{key}: {value!r} is not between {low} and {high}")
