"""What manifest.json and cell.json say, as frozen models: the writer dumps them, the reader validates them.

Unknown keys are kept (a later minor version may add some); a missing or mistyped one makes the file damaged.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.store.layout import SCHEMA

__all__ = [
    "AgentRecord",
    "CellEntry",
    "CellRecord",
    "CellState",
    "EventRecord",
    "FileRecord",
    "LinkRecord",
    "Manifest",
    "PairRecord",
    "RunState",
]

#: "degraded": an agent died, and only its own results are left out. "invalid": its figures may not be what they seem.
#: "unfinished": found on disk as running, but its writer is gone. "damaged": files do not hold what they claim.
CellState = Literal[
    "planned", "running", "valid", "degraded", "invalid", "failed", "interrupted", "unfinished", "damaged"
]
RunState = Literal["running", "complete", "interrupted", "failed", "unfinished"]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class CellEntry(_Stored):
    """One cell in the manifest: planned from the start, so that a missing cell is seen to be missing.

    Attributes:
        attempts: why each earlier attempt at it failed or was invalid; what they left is in attempts/.
    """

    id: str
    system: str
    repetition: int
    order: int
    point: dict[str, Any] = Field(default_factory=dict)
    state: CellState = "planned"
    why: list[str] = Field(default_factory=list)
    digest: str | None = None
    attempts: list[str] = Field(default_factory=list)


class Manifest(_Stored):
    """manifest.json: what this run is, and how far it got.

    Attributes:
        schema_: version of the layout.
        run: the run's id; also its directory's name.
        scenario: the scenario's name.
        state: "running" until the writer says otherwise.
        why: reasons for a state other than complete.
        started, ended: UTC, ISO 8601.
        harness: version of the harness that wrote it.
        command: the command line, to run it again.
        seed: the scenario's seed.
        host: facts about the machine (plain JSON).
        fingerprint: SHA-256 of the resolved scenario.
        cells: every planned cell, in the order they run.
        warnings: what a reader of the results must know.
        facts: anything else about the run as a whole.
    """

    schema_: int = Field(default=SCHEMA, alias="schema")
    run: str
    scenario: str
    state: RunState = "running"
    why: list[str] = Field(default_factory=list)
    started: str
    ended: str | None = None
    harness: str
    command: list[str] = Field(default_factory=list)
    seed: int | None = None
    host: dict[str, Any] = Field(default_factory=dict)
    fingerprint: str
    cells: list[CellEntry]
    warnings: list[str] = Field(default_factory=list)
    facts: dict[str, Any] = Field(default_factory=dict)


class AgentRecord(_Stored):
    """An agent: what was planned (see harness.plan.cell.AgentPlan) and what it said of itself.

    Attributes:
        pattern: what its workload does, e.g. "rpc-call" (harness.agent.task.PATTERNS).
        processes: "exec", a fresh process, or "fork", forked from one that had the client library loaded.
        targets: names of the targets by the index its records use.
        failures: failure names; a record's status s > 0 means failures[s - 1].
        counters: totals the agent kept itself, as harness.agent.tally: sent, done, starved, negative, failed by status.
        facts: what it reported about its process: versions, boot_id, time namespace, scheduling (what it was granted,
            harness.agent.punctuality; null where operations have no due instants); of one that ended under load
            `killed: true`, `died_s` (load time at which that was seen) and `planned` (whether the timeline ended it).
        rows: records taken from its file.
        cut_bytes: bytes of an unfinished last record (its process was killed).
        go_ns: the go instant on its own CLOCK_MONOTONIC.
    """

    index: int
    name: str
    node: str
    site: str
    role: Literal["client", "server"]
    workload: str
    bus: str
    bus_node: str
    stack: str
    adapter: str
    task: dict[str, Any] = Field(default_factory=dict)
    processes: Literal["exec", "fork"] = "exec"
    pattern: str
    targets: list[str] = Field(default_factory=list)
    failures: list[str] = Field(default_factory=list)
    counters: dict[str, Any] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)
    rows: int = 0
    cut_bytes: int = 0
    go_ns: int | None = None


class PairRecord(_Stored):
    """A (client site, server site) pair and the least time the declared links allow; see PairPlan."""

    workload: str
    client_site: str
    server_site: str
    target: str
    path: list[str]
    floor_s: float
    round_trip: bool


class LinkRecord(_Stored):
    """One direction of a declared link; `impairment` as in harness.model.links.Impairment."""

    name: str
    source: str
    target: str
    impairment: dict[str, Any]


class EventRecord(_Stored):
    """Something that happened during the cell. t_ns is relative to go; `kind` is a word, `what` a sentence."""

    t_ns: int
    kind: str
    what: str


class FileRecord(_Stored):
    """What a data file must be, so that a truncated or replaced one is recognised."""

    rows: int
    bytes: int


class CellRecord(_Stored):
    """cell.json: everything about a cell but its rows."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    id: str
    system: str
    point: dict[str, Any]
    repetition: int
    order: int
    seed: int
    state: CellState
    reasons: list[str] = Field(default_factory=list)
    started: str | None = None
    ended: str | None = None
    phases: dict[str, float]
    sites: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    links: list[LinkRecord]
    buses: list[dict[str, Any]]
    stacks: list[str]
    pairs: list[PairRecord]
    agents: list[AgentRecord]
    facts: dict[str, Any] = Field(default_factory=dict)
    events: list[EventRecord] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    files: dict[str, FileRecord] = Field(default_factory=dict)
