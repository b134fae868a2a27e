"""Tidy DataFrames over a run's cells: one row per observation, units in column names, text as categories.

Frames are built column by column straight from the files, so that memory is bounded by the columns asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.agent.records import WARMUP
from harness.analysis.delivery import DELIVERY_NEEDS, OPERATION_NEEDS, LedgerRow, take_ledger
from harness.analysis.failures import FailureCount
from harness.analysis.leak import METRICS, Verdict
from harness.analysis.recovery import (
    RECOVERY_DELIVERY_NEEDS,
    RECOVERY_OPERATION_NEEDS,
    Outage,
    Recovery,
    outages_in,
    take_recoveries,
)
from harness.errors import BadInput, DamagedResult
from harness.store import facts
from harness.store.places import UNKNOWN, by_agent, server_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from harness.store.cell import Cell
    from harness.store.schema import CellRecord

__all__ = [
    "DELIVERY_COLUMNS",
    "LATENCY_COLUMNS",
    "axis_values",
    "delivery_frame",
    "failure_frame",
    "growth_frame",
    "latency_frame",
    "ledger_frame",
    "recovery_frame",
    "sample_frame",
]


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


#: Columns of Run.latency, in order.
LATENCY_COLUMNS = (
    "cell",
    "system",
    "repetition",
    "workload",
    "pattern",
    "client_site",
    "server_site",
    "agent",
    "seq",
    "due_s",
    "response_ms",
    "service_ms",
    "send_delay_ms",
    "outcome",
)
#: Columns of Run.deliveries, in order.
DELIVERY_COLUMNS = (
    "cell",
    "system",
    "repetition",
    "workload",
    "pattern",
    "client_site",
    "server_site",
    "sender",
    "receiver",
    "seq",
    "due_s",
    "one_way_ms",
    "work_ms",
)

_OWN = {*LATENCY_COLUMNS, *DELIVERY_COLUMNS}
#: Columns of Run.memory that processes.parquet names without their unit.
_BYTES = {name: f"{name}_bytes" for name in ("rss", "pss", "uss", "anonymous")}
#: Where the axes of the sweep come in Run.latency and Run.deliveries: after cell, system and repetition.
_AXES_AT = 3
_LEDGER_COLUMNS = ("workload", "pattern", "client_site", *_names(LedgerRow))
_FAILURE_COLUMNS = ("workload", "client_site", *_names(FailureCount))
_RECOVERY_COLUMNS = ("fault", *_names(Outage)[1:], *_names(Recovery)[1:])
_GROWTH_HEAD = ("dose", "operations", "processes", "role", "verdict", "metric", "unit")
_GROWTH_COLUMNS = ("state", "per_op", "low", "high", "delta", "mdl", "total")
_OK = "ok"
Arrays = dict[str, Any]


class _Labels:
    """The categories of the text columns over all cells of a frame, fixed before any row is read."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        records = [cell.record for cell in cells if cell.record is not None]
        agents = [agent for record in records for agent in record.agents]
        self.cells = [cell.id for cell in cells]
        self.systems = _distinct(cell.system for cell in cells)
        self.workloads = _distinct(agent.workload for agent in agents)
        self.patterns = _distinct(agent.pattern for agent in agents)
        self.sites = _distinct([*(str(s["name"]) for r in records for s in r.sites), *(a.site for a in agents)])
        self.agents = _distinct(agent.name for agent in agents)
        self.axes = {axis: _distinct(axis_values(cell).get(axis) for cell in cells) for axis in _axes(cells, _OWN)}
        self.outcomes = _distinct([_OK, *(name for agent in agents for name in agent.failures), _UNNAMED])


_UNNAMED = "unnamed failure"


def _distinct(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


def axis_values(cell: Cell) -> dict[str, Any]:
    """The cell's place on every axis of the sweep: a number, or text."""
    return {str(axis): _plain(value) for axis, value in cell.point.items()}


def _plain(value: Any) -> float | str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(str(_plain(each)) for each in value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _head(cell: Cell, state: str = "state") -> dict[str, Any]:
    """Which cell a row is of, what the cell may be used for, and its place in the sweep."""
    return {
        "cell": cell.id,
        "system": cell.system,
        "repetition": cell.repetition,
        state: cell.state,
        **axis_values(cell),
    }


def _table(
    cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]], own: Sequence[str], state: str = "state"
) -> pd.DataFrame:
    """The rows as a frame; where there are none, its columns alone, so that what counts them finds none."""
    if rows:
        return pd.DataFrame(rows)
    axes = dict.fromkeys(axis for cell in cells for axis in axis_values(cell))
    return pd.DataFrame(columns=["cell", "system", "repetition", state, *axes, *own])


def _axes(cells: Sequence[Cell], columns: Collection[str]) -> list[str]:
    """The axes of the sweep that are no column anyway (a sweep over `pattern` is)."""
    return [axis for axis in _distinct(axis for cell in cells for axis in axis_values(cell)) if axis not in columns]


def _chosen(columns: Sequence[str] | None, own: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    known = [*own[:_AXES_AT], *_axes(cells, own), *own[_AXES_AT:]]
    chosen = known if columns is None else list(columns)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise BadInput(f"no column {', '.join(unknown)}", expected=f"some of {', '.join(known)}")
    return chosen


def _codes(values: NDArray[Any], labels: list[str]) -> Any:
    # validate=False: the codes come from tables made of these very labels.
    return pd.Categorical.from_codes(values, dtype=pd.CategoricalDtype(labels), validate=False)


def _constant(code: int) -> Callable[[Arrays], NDArray[np.int16]]:
    return lambda a: np.full(len(a["agent"]), code, np.int16)


def _ms(nanoseconds: NDArray[np.int64]) -> NDArray[np.float64]:
    return nanoseconds / 1e6


def latency_frame(cells: Sequence[Cell], columns: Sequence[str] | None = None, *, warmup: bool = False) -> pd.DataFrame:
    """One row per finished client operation; see Run.latency for the columns. Raises DamagedResult, BadInput."""
    chosen = _chosen(columns, LATENCY_COLUMNS, cells)
    needs = {
        "seq": ("seq",),
        "due_s": ("due_ns",),
        "response_ms": ("due_ns", "done_ns", "status"),
        "service_ms": ("sent_ns", "done_ns", "status"),
        "send_delay_ms": ("due_ns", "sent_ns"),
        "outcome": ("status",),
        "server_site": ("target", "peer"),
    }
    wanted = {"agent"}.union(*(needs.get(name, ()) for name in chosen)) | (set() if warmup else {"flags"})
    labels = _Labels(cells)
    return _frame(
        cells,
        chosen,
        read=lambda cell: _measured(cell.operations(sorted(wanted)), warmup=warmup),
        makers=lambda cell, record: {
            **_labelled(cell, record, labels, client="agent"),
            "agent": lambda a: by_agent(record, labels.agents, "name")[a["agent"]],
            "seq": lambda a: a["seq"],
            "due_s": lambda a: a["due_ns"] / 1e9,
            "response_ms": lambda a: _where_ok(a, a["done_ns"] - a["due_ns"]),
            "service_ms": lambda a: _where_ok(a, a["done_ns"] - a["sent_ns"]),
            "send_delay_ms": lambda a: _ms(a["sent_ns"] - a["due_ns"]),
            "server_site": lambda a: server_sites(record, labels.sites, a["agent"], a["target"], a["peer"]),
            "outcome": lambda a: _outcomes(record, labels.outcomes, a["agent"], a["status"]),
        },
        categories={**_categories(labels), "agent": labels.agents, "outcome": labels.outcomes},
    )


def delivery_frame(
    cells: Sequence[Cell], columns: Sequence[str] | None = None, *, warmup: bool = False
) -> pd.DataFrame:
    """One row per received message; see Run.deliveries for the columns. Raises DamagedResult, BadInput."""
    chosen = _chosen(columns, DELIVERY_COLUMNS, cells)
    needs = {
        "seq": ("seq",),
        "due_s": ("due_ns",),
        "one_way_ms": ("due_ns", "received_ns"),
        "work_ms": ("received_ns", "done_ns"),
    }
    wanted = {"agent", "peer"}.union(*(needs.get(name, ()) for name in chosen)) | (set() if warmup else {"flags"})
    labels = _Labels(cells)
    return _frame(
        cells,
        chosen,
        read=lambda cell: _measured(cell.deliveries(sorted(wanted)), warmup=warmup),
        makers=lambda cell, record: {
            **_labelled(cell, record, labels, client="peer"),
            "sender": lambda a: by_agent(record, labels.agents, "name")[a["peer"]],
            "receiver": lambda a: by_agent(record, labels.agents, "name")[a["agent"]],
            "seq": lambda a: a["seq"],
            "due_s": lambda a: a["due_ns"] / 1e9,
            "one_way_ms": lambda a: (
                _ms(a["received_ns"] - a["due_ns"]) if cell.shared_clock else np.full(len(a["agent"]), np.nan)
            ),
            "work_ms": lambda a: _ms(a["done_ns"] - a["received_ns"]),
            "server_site": lambda a: by_agent(record, labels.sites, "site")[a["agent"]],
        },
        categories={**_categories(labels), "sender": labels.agents, "receiver": labels.agents},
    )


def sample_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per process and sample; see Run.memory for the columns. Raises DamagedResult."""
    frames = []
    for cell in cells:
        if cell.record is None:
            continue
        frame = cell.samples()
        sites = {str(node["name"]): str(node["site"]) for node in cell.record.nodes}
        head = {**_head(cell), "site": frame["node"].map(sites)}
        for at, (name, value) in enumerate(head.items()):
            frame.insert(at, name, value)
        frames.append(frame.rename(columns=_BYTES))
    if not frames:
        return pd.DataFrame()
    joined = pd.concat(frames, ignore_index=True)
    texts = ["cell", "system", "state", "site", "node", "process", "comm", "role"]
    return joined.astype(dict.fromkeys(texts, "category"))


def ledger_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per client agent and server site; see Run.delivery for the columns. Raises DamagedResult."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        if cell.record is None:
            continue
        agents = cell.agents
        ledger = take_ledger(cell.record, cell.operations(OPERATION_NEEDS), cell.deliveries(DELIVERY_NEEDS))
        for row in ledger.rows:
            agent = agents[row.agent]
            rows.append(
                {
                    **_head(cell),
                    "workload": agent.workload,
                    "pattern": agent.pattern,
                    "client_site": agent.site,
                    **asdict(row),
                    "server_site": row.server_site or None,
                    "agent": agent.name,
                    "failures": "; ".join(f"{name}: {count}" for name, count in row.failures.items()),
                }
            )
    return _table(cells, rows, _LEDGER_COLUMNS)


def failure_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per client agent and kind of failure; see Run.failures for the columns. Raises DamagedResult."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        if cell.record is None:
            continue
        agents = cell.agents
        ledger = take_ledger(cell.record, cell.operations(OPERATION_NEEDS), cell.deliveries(DELIVERY_NEEDS))
        for kind in ledger.failures:
            agent = agents[kind.agent]
            who = {"workload": agent.workload, "client_site": agent.site, "agent": agent.name}
            rows.append({**_head(cell), **who, **{k: v for k, v in asdict(kind).items() if k != "agent"}})
    return _table(cells, rows, _FAILURE_COLUMNS)


def recovery_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per fault, workload and client site; see Run.recovery for the columns. Raises DamagedResult."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        if cell.record is None or not outages_in(cell.record):
            continue
        found = take_recoveries(
            cell.record,
            cell.operations(RECOVERY_OPERATION_NEEDS),
            cell.deliveries(RECOVERY_DELIVERY_NEEDS),
            shared_clock=cell.shared_clock,
        )
        for recovery in found:
            values = {key: value for key, value in asdict(recovery).items() if key != "outage"}
            outage = {"fault" if key == "what" else key: value for key, value in asdict(recovery.outage).items()}
            rows.append({**_head(cell), **outage, **values})
    return _table(cells, rows, _RECOVERY_COLUMNS)


def growth_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per dose, role and metric; see Run.growth for the columns. Raises DamagedResult."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        result = cell.record.facts.get(facts.MEMORY) if cell.record else None
        try:
            rows += _growth_rows(cell, result or {"doses": ()})
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedResult(f"its memory result cannot be read ({error})", where=str(cell.path)) from None
    return _table(cells, rows, (*_GROWTH_HEAD, *_GROWTH_COLUMNS), "cell_state")


def _growth_rows(cell: Cell, result: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **_head(cell, "cell_state"),
            "dose": dose["name"],
            "operations": dose["operations"],
            "processes": dose["repetitions"],
            "role": role["role"],
            "verdict": verdict.state,
            "metric": name,
            "unit": METRICS[name].unit,
            **{key: getattr(growth, key) for key in _GROWTH_COLUMNS},
        }
        for dose in result["doses"]
        for role in dose["roles"]
        for verdict in (Verdict.from_json(role["verdict"]),)
        for name, growth in verdict.growths.items()
    ]


def _labelled(
    cell: Cell, record: CellRecord, labels: _Labels, client: str
) -> dict[str, Callable[[Arrays], NDArray[Any]]]:
    return {
        "cell": _constant(labels.cells.index(cell.id)),
        "system": _constant(labels.systems.index(cell.system)),
        "repetition": _constant(cell.repetition),
        **{axis: _along(values, axis_values(cell).get(axis)) for axis, values in labels.axes.items()},
        "workload": lambda a: by_agent(record, labels.workloads, "workload")[a["agent"]],
        "pattern": lambda a: by_agent(record, labels.patterns, "pattern")[a["agent"]],
        "client_site": lambda a: by_agent(record, labels.sites, "site")[a[client]],
    }


def _along(values: list[Any], value: Any) -> Callable[[Arrays], NDArray[Any]]:
    """A column of one value of an axis: the number, or the category of a text."""
    if _numeric(values):
        number = np.asarray(value)  # not of 16 bits like a code
        return lambda a: np.full(len(a["agent"]), number)
    return _constant(UNKNOWN if value is None else _texts(values).index(str(value)))


def _numeric(values: list[Any]) -> bool:
    return not any(value is None or isinstance(value, str) for value in values)


def _texts(values: list[Any]) -> list[str]:
    return _distinct(str(value) for value in values if value is not None)


def _categories(labels: _Labels) -> dict[str, list[str]]:
    return {
        "cell": labels.cells,
        "system": labels.systems,
        "workload": labels.workloads,
        "pattern": labels.patterns,
        "client_site": labels.sites,
        "server_site": labels.sites,
        **{axis: _texts(values) for axis, values in labels.axes.items() if not _numeric(values)},
    }


def _frame(
    cells: Sequence[Cell],
    chosen: Sequence[str],
    *,
    read: Callable[[Cell], Arrays],
    makers: Callable[[Cell, CellRecord], dict[str, Callable[[Arrays], NDArray[Any]]]],
    categories: dict[str, list[str]],
) -> pd.DataFrame:
    pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in chosen}
    for cell in cells:
        if cell.record is None:
            continue
        arrays = read(cell)
        make = makers(cell, cell.record)
        for name in chosen:
            pieces[name].append(make[name](arrays))
    columns: dict[str, Any] = {}
    for name in chosen:
        parts = pieces.pop(name)
        values = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, np.int16)
        columns[name] = _codes(values, categories[name]) if name in categories else values
    return pd.DataFrame(columns, copy=False)


def _measured(arrays: Arrays, *, warmup: bool) -> Arrays:
    if warmup:
        return arrays
    kept = (arrays.pop("flags") & WARMUP) == 0
    if kept.all():
        return arrays
    for name in arrays:
        arrays[name] = arrays[name][kept]
    return arrays


def _where_ok(arrays: Arrays, nanoseconds: NDArray[np.int64]) -> NDArray[np.float64]:
    values = _ms(nanoseconds)
    values[arrays["status"] != 0] = np.nan
    return values


def _outcomes(
    record: CellRecord, labels: list[str], agent: NDArray[np.uint16], status: NDArray[np.uint16]
) -> NDArray[np.int16]:
    codes = {label: code for code, label in enumerate(labels)}
    width = max((len(a.failures) for a in record.agents), default=0) + 2
    named = np.full((max((a.index for a in record.agents), default=0) + 1, width), codes[_UNNAMED], np.int16)
    named[:, 0] = codes[_OK]
    for a in record.agents:
        named[a.index, 1 : len(a.failures) + 1] = [codes[name] for name in a.failures]
    return named[np.minimum(agent, len(named) - 1), np.minimum(status, width - 1)]


assert UNKNOWN == -1  # what pandas takes for "no category"
