"""The `memory:` section of a scenario: which operations are dosed, how much, and what counts as a leak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from harness.model.faults import Fault, nearest, refuse
from harness.model.frozen import NAMES, NULL, NUMBER, TEXT, AlsoWritten, Flag, Frozen, Name, Real, Whole
from harness.model.quantities import Duration, Size
from harness.model.stack import Options

__all__ = [
    "BUSLESS_EVENTS",
    "CHURN_OF",
    "KINDS",
    "SHARED_EVENTS",
    "DoseKind",
    "DoseSpec",
    "Event",
    "Kind",
    "LeakFault",
    "Limits",
    "MemorySpec",
    "Outcome",
    "limits_of",
]

DoseKind = Literal[
    "call",
    "cast",
    "cast-nobody",
    "timeout",
    "fanout",
    "notify",
    "topic",
    "away",
    "reconnect",
    "hangup",
    "refused",
    "dropped",
    "cut",
    "bus-restart",
    "client",
    "transport",
    "connect",
    "abandoned",
    "link",
    "declare",
    "evented",
    "server",
    "listener",
    "blocking",
    "blocking-refused",
    "blocking-dropped",
    "blocking-silent",
]

#: What happens to the connection: see Kind.
Event = Literal["", "reset", "hangup", "refuse", "drop", "silence", "stall", "cut", "restart"]
#: Events that disturb what all processes share.
SHARED_EVENTS: frozenset[Event] = frozenset({"cut", "restart"})
#: Events that leave the client without a bus all the time.
BUSLESS_EVENTS: frozenset[Event] = frozenset({"refuse", "drop", "silence", "stall"})

#: What must come of the operations of a dose: most succeed, none does, or either.
Outcome = Literal["success", "failure", "either"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of operation a dose is made of.

    Attributes:
        pattern: what the agent performs (harness.agent.task.PATTERNS).
        served: whether a server takes part.
        cycle: whether one operation is a cycle of life (a connection, a client, a server) rather than a message; a
            cycle may leave more behind than a message before it is called a leak, and is dosed in dozens.
        count: operations per block, unless the scenario says otherwise.
        workers: threads that perform them, likewise.
        timeout_s: how long an operation may take, likewise.
        event: what happens to connections. Before each operation: "reset" or "hangup" (the peer resets or closes
            them), "cut" (the link is cut and healed), "restart" (the bus component restarts). All the time: "refuse"
            (nobody listens where the bus should be), "drop" (connections are taken and reset at once), "silence" (they
            are taken and never answered), "stall" (they stay half made). "": nothing.
        about: one operation, in words.
        transports: connections of the client: one event meets all of them, so that it is that many operations.
    """

    pattern: str
    served: bool
    cycle: bool
    count: int
    workers: int
    timeout_s: float
    event: Event
    about: str
    transports: int = 1

    @property
    def outcome(self) -> Outcome:
        """What must come of the operations."""
        if self.pattern == "churn-abandon":
            return "success"  # giving up is what was to be done
        if self.event in BUSLESS_EVENTS:
            return "failure"
        if self.event:
            return "either"  # what is dosed is the event; the operation is performed again until it succeeds
        if self.served or self.cycle:
            return "success"
        # A call nobody answers times out; a cast nobody takes may be refused or lost, by the driver's own rules.
        return "failure" if self.pattern == "rpc-call" else "either"


#: Every kind of dose. Counts follow METHODS: casts >= 20,000, time-outs >= 2,000, cycles >= 100.
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "call": Kind("rpc-call", True, False, 500, 4, 10.0, "", "a call answered by a server"),
        "cast": Kind("rpc-cast", True, False, 1500, 4, 10.0, "", "a cast taken by a server"),
        "cast-nobody": Kind("rpc-cast", False, False, 1500, 4, 10.0, "", "a cast nobody takes"),
        "timeout": Kind("rpc-call", False, False, 160, 32, 1.0, "", "a call nobody answers"),
        "fanout": Kind("rpc-fanout", True, False, 500, 4, 10.0, "", "a fanout cast"),
        "notify": Kind("notify", True, False, 500, 4, 10.0, "", "a notification taken by a listener"),
        "topic": Kind("churn-topic", False, True, 200, 4, 10.0, "", "a cast to a topic nobody has named before"),
        "away": Kind("rpc-cast", False, False, 20, 20, 2.0, "refuse", "a cast while the bus is away"),
        "reconnect": Kind(
            "rpc-call", True, True, 20, 10, 15.0, "reset", "a connection reset by its peer, and a call", transports=10
        ),
        "hangup": Kind(
            "rpc-call", True, True, 20, 10, 15.0, "hangup", "a connection closed by its peer, and a call", transports=10
        ),
        "refused": Kind("churn-cast", False, True, 10, 10, 5.0, "refuse", "a connection that is refused"),
        "dropped": Kind(
            "churn-cast",
            False,
            True,
            10,
            10,
            5.0,
            "drop",
            "a connection that is reset as soon as it is made",
        ),
        "cut": Kind(
            "rpc-call", True, True, 10, 10, 60.0, "cut", "a connection lost to a cut link, and a call", transports=10
        ),
        "bus-restart": Kind(
            "rpc-call", True, True, 10, 10, 60.0, "restart", "a connection lost to a restart, and a call", transports=10
        ),
        "client": Kind("churn-client", True, True, 50, 1, 10.0, "", "a new client object and one call"),
        "transport": Kind("churn-transport", True, True, 20, 1, 10.0, "", "a transport made, one call, closed"),
        "connect": Kind("churn-connect", False, True, 20, 1, 10.0, "", "a connection made and closed"),
        "abandoned": Kind(
            "churn-abandon", False, True, 20, 1, 10.0, "stall", "a connection given up while it is being made"
        ),
        "link": Kind("churn-link", False, True, 50, 1, 10.0, "", "a channel or a pair of links opened and closed"),
        "declare": Kind("churn-declare", False, True, 200, 1, 10.0, "", "a queue nobody has named before declared"),
        "evented": Kind(
            "churn-evented", False, True, 10, 1, 10.0, "", "a connection of an event loop cut off and given up"
        ),
        "server": Kind("churn-server", False, True, 20, 1, 10.0, "", "an RPC server started and stopped"),
        "listener": Kind("churn-listener", False, True, 20, 1, 10.0, "", "a listener started and stopped"),
        "blocking": Kind("churn-blocking", False, True, 20, 1, 10.0, "", "a blocking connection made and closed"),
        "blocking-refused": Kind(
            "churn-blocking", False, True, 20, 1, 5.0, "refuse", "a blocking connection that is refused"
        ),
        "blocking-dropped": Kind(
            "churn-blocking", False, True, 10, 5, 5.0, "drop", "a blocking connection reset when it is made"
        ),
        "blocking-silent": Kind(
            "churn-blocking", False, True, 10, 5, 0.5, "silence", "a blocking connection never answered"
        ),
    }
)


#: Cycles of client life each adapter has (harness.agent.limits says the same to the agent).
CHURN_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "oslo": (
            *("churn-connect", "churn-transport", "churn-cast", "churn-client", "churn-topic"),
            *("churn-server", "churn-listener"),
        ),
        "kombu": ("churn-connect", "churn-cast", "churn-link", "churn-declare", "churn-evented"),
        "proton": ("churn-connect", "churn-abandon", "churn-cast", "churn-link", "churn-blocking"),
        "pyngus": ("churn-connect", "churn-abandon", "churn-cast", "churn-transport", "churn-link"),
        "loopback": ("churn-connect",),
    }
)


class Limits(Frozen):
    """Growth per operation from which on it is a leak; what is not given has the default of the kind of operation."""

    blocks: Real | None = Field(default=None, gt=0, description="allocated blocks of Python per operation")
    heap: Real | None = Field(default=None, gt=0, description="bytes of malloc heap per operation")
    anonymous: Real | None = Field(default=None, gt=0, description="bytes of anonymous memory per operation")
    fds: Real | None = Field(default=None, gt=0, description="descriptors per operation")
    threads: Real | None = Field(default=None, gt=0, description="threads per operation")
    sockets: Real | None = Field(default=None, gt=0, description="sockets per operation")


#: METHODS: 0.1 blocks, 16 B of heap, 100 B of anonymous memory, 1 descriptor, thread or socket per 1,000 operations.
_MESSAGE = {"blocks": 0.1, "heap": 16.0, "anonymous": 100.0, "fds": 0.001, "threads": 0.001, "sockets": 0.001}
#: A cycle is dosed in dozens: half an object, half of a native 100-byte block, half a page, one count in twenty.
_CYCLE = {"blocks": 0.5, "heap": 50.0, "anonymous": 2048.0, "fds": 0.05, "threads": 0.05, "sockets": 0.05}


#: CPython 3.8 to 3.10 gives every function a cache when it has been called 1,024 times: two blocks. Cycles are given in
#: dozens, so functions come to theirs all along: 0.65 blocks per reconnect of a client that leaks nothing, measured.
_CYCLE_CACHES = 0.8


def limits_of(kind: str, *overrides: Limits, python: tuple[int, int] | None = None) -> dict[str, float]:
    """The limits for a kind of operation, later overrides winning; the Python that performs it matters for cycles."""
    cycle = KINDS[kind].cycle
    values = dict(_CYCLE if cycle else _MESSAGE)
    if cycle and python is not None and python < (3, 11):
        values["blocks"] = _CYCLE_CACHES
    for override in overrides:
        values |= override.model_dump(exclude_none=True)
    return values


class LeakFault(Frozen):
    """A leak made on purpose in the client, to see whether it is found."""

    what: Literal["objects", "bytes", "fds", "threads"] = Field(
        description="objects: Python objects, one block each; bytes: native blocks outside Python's heap"
    )
    per_operation: Real = Field(default=1.0, gt=0, le=1000, description="how many per operation; 0.1 is one in ten")
    size: Size = Field(default=100, ge=1, description="bytes of each native block")


class DoseSpec(Frozen):
    """One kind of operation, given to fresh processes block by block."""

    kind: DoseKind | None = Field(default=None, description="the kind of operation; default: the dose's name")
    count: Whole | None = Field(default=None, ge=1, le=10_000_000, description="operations per block")
    workers: Whole | None = Field(default=None, ge=1, le=1024, description="threads of the client that perform them")
    transports: Whole | None = Field(
        default=None, ge=1, le=100, description="connections of the client, used in turn, each by a thread of its own"
    )
    payload: Size = Field(default=1024, ge=0, le=64 << 20, description="bytes of each message's payload")
    pause: Duration = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="what a worker waits between operations; what leaks by the second needs a dose that takes time",
    )
    timeout: Duration | None = Field(default=None, gt=0, description="how long an operation may take")
    targets: Whole = Field(default=1, ge=1, le=50_000, description="distinct topics, taken in turn")
    options: Options = Field(
        default_factory=dict,
        description="oslo.config options by group, over the stack's; that of another driver is left out",
    )
    limits: Limits = Field(default_factory=Limits, description="what counts as a leak in this dose")
    leak: LeakFault | None = Field(default=None, description="a leak made on purpose in the client")

    def plan_kind(self, name: str) -> str:
        """Its kind, which may be its name."""
        return self.kind or name


#: `doses: quick` and `doses: all`.
_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"quick": tuple(name for name, kind in KINDS.items() if kind.event not in SHARED_EVENTS), "all": tuple(KINDS)}
)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _doses(value: object) -> object:
    """`[call, reconnect]` and `{call: 500}` are as good as `{call: {count: 500}, reconnect: {}}`."""
    if isinstance(value, str):
        value = list(_WORDS.get(value, (value,)))
    if isinstance(value, list):
        value = {str(name): None for name in value}
    if isinstance(value, Mapping):
        full: dict[Any, Any] = {}
        for name, dose in value.items():
            full[name] = {} if dose is None else {"count": dose} if _is_count(dose) else dose
        return full
    return value


class MemorySpec(Frozen):
    """Do clients and servers leak? Doses of operations, readings at rest between blocks, in fresh processes."""

    doses: Annotated[
        dict[Name, Annotated[DoseSpec, AlsoWritten((NULL, NUMBER))]],
        BeforeValidator(_doses),
        AlsoWritten((TEXT, NAMES)),
    ] = Field(
        min_length=1,
        description="what the processes are given: a list of kinds, or by name; or `quick`, all kinds but cut and "
        "bus-restart, or `all`",
    )
    where_possible: Flag = Field(
        default=False,
        description="leave out doses a system cannot be given instead of refusing the scenario; so with quick and all",
    )
    parallel: Whole | None = Field(
        default=None, ge=1, le=64, description="sets of processes at once; default: as many as the host has processors"
    )
    client: Name | None = Field(default=None, description="site of the client; default: the first of the topology")
    server: Name | None = Field(default=None, description="site of the server; default: the client's")
    bus: Name | None = Field(default=None, description="name of the bus, where a system has several; default: first")
    blocks: Whole = Field(default=12, ge=6, le=1000, description="blocks measured after the warm-up")
    warmup_blocks: Whole = Field(default=4, ge=0, le=1000, description="blocks before the first reading that counts")
    repetitions: Whole = Field(default=5, ge=1, le=100, description="fresh processes per dose; 3 for a smoke check")
    doublings: Whole = Field(
        default=2, ge=0, le=8, description="how often an undecided dose is doubled before it stays inconclusive"
    )
    pause: Duration = Field(default=0.05, ge=0, le=60, description="rest before each reading")
    rest: Duration = Field(
        default=45.0,
        ge=0,
        le=3600,
        description="before a leak is called one: rest that must not drain it; longer than any time-out of the client",
    )
    limits: Limits = Field(default_factory=Limits, description="what counts as a leak in every dose")
    budgets: dict[Literal["client", "server"], Size] = Field(
        default_factory=dict, description="anonymous memory a process may hold at rest, by role; checked by the gate"
    )
    attribute: Flag = Field(default=True, description="whether a leak is followed by a traced run that says what leaks")

    @model_validator(mode="before")
    @classmethod
    def _words(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("doses"), str) and data["doses"] in _WORDS:
            return {"where_possible": True, **data}
        return data

    @model_validator(mode="after")
    def _check(self) -> MemorySpec:
        faults = [
            Fault(
                ("doses", name),
                f"there is no kind of dose called {name!r}",
                "one of: " + ", ".join(KINDS) + "; or kind: beside the name",
                nearest(name, KINDS),
            )
            for name, dose in self.doses.items()
            if dose.plan_kind(name) not in KINDS
        ]
        if faults:
            raise refuse(*faults)
        return self
