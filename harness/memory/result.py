"""What a memory cell found, as frozen values and as the JSON stored under harness.store.facts.MEMORY. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.analysis.leak import METRICS, Series, State, Verdict, conclude

__all__ = ["SCHEMA", "Attribution", "DoseResult", "MemoryResult", "Reading", "RoleResult", "judge_role", "worst"]

#: Version of the stored form.
SCHEMA = 1

#: A reading at rest: operations so far, and the figures of harness.agent.reading.
Reading = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attribution:
    """What leaks, from a run of its own.

    Attributes:
        origin: "python", "native", "descriptors" or "threads": where the growth is.
        sentences: the finding for people, the most telling first.
        types: collector-tracked types by growth: {"type", "per_op"}.
        holders: chains of references by type.
        sites: allocation sites by growth: {"bytes_per_op", "blocks_per_op", "frames"}.
        confirmed: growth per operation of each leaking metric in that run.
        rested: the same between two readings after a long rest, before and after blocks; None without rest.
        lasting: whether that run, of twice the dose, still grew at half the rate or more.
    """

    origin: str
    sentences: tuple[str, ...]
    types: tuple[Mapping[str, Any], ...] = ()
    holders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sites: tuple[Mapping[str, Any], ...] = ()
    confirmed: Mapping[str, float] = field(default_factory=dict)
    lasting: bool = True
    rested: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class RoleResult:
    """One kind of process under one dose.

    Attributes:
        role: "client" or "server".
        verdict: the verdict.
        rest: the last reading of each run by metric: what the process holds at rest.
        attribution: what leaks, where it does.
    """

    role: str
    verdict: Verdict
    rest: Mapping[str, tuple[float, ...]]
    attribution: Attribution | None = None


@dataclass(frozen=True, slots=True)
class DoseResult:
    """One dose.

    Attributes:
        name, kind, about: which; one operation in words.
        count: operations per block of the last runs.
        operations: operations measured per process (after the warm-up) in those runs.
        level: how often the dose had to be doubled.
        repetitions: processes the verdict is from.
        roles: the results by role.
        succeeded, failed: operations of those runs that ended well, and the others by kind.
        trouble: why the dose did not do what it should, "" if it did.
        seconds: how long it all took.
    """

    name: str
    kind: str
    about: str
    count: int
    operations: int
    level: int
    repetitions: int
    roles: tuple[RoleResult, ...]
    succeeded: int
    failed: Mapping[str, int]
    trouble: str
    seconds: float


@dataclass(frozen=True, slots=True)
class MemoryResult:
    """All doses of one cell.

    Attributes:
        doses: the doses.
        calibration: what this host's calibration says of such verdicts, "" where it has none.
    """

    doses: tuple[DoseResult, ...]
    calibration: str = ""

    @property
    def state(self) -> State:
        """The worst verdict."""
        return worst(role.verdict.state for dose in self.doses for role in dose.roles)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        doses = []
        for dose in self.doses:
            data = {name: getattr(dose, name) for name in DoseResult.__dataclass_fields__ if name != "roles"}
            data["failed"] = dict(dose.failed)
            data["roles"] = [
                {
                    "role": role.role,
                    "verdict": role.verdict.to_json(),
                    "rest": {name: list(values) for name, values in role.rest.items()},
                    "attribution": asdict(role.attribution) if role.attribution else None,
                }
                for role in dose.roles
            ]
            doses.append(data)
        return {"schema": SCHEMA, "state": self.state, "calibration": self.calibration, "doses": doses}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MemoryResult:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for something else."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}, not {SCHEMA}")
        doses = []
        for item in data["doses"]:
            roles = tuple(
                RoleResult(
                    role["role"],
                    Verdict.from_json(role["verdict"]),
                    {name: tuple(values) for name, values in role["rest"].items()},
                    _attribution(role["attribution"]),
                )
                for role in item["roles"]
            )
            doses.append(DoseResult(**{**item, "roles": roles}))
        return cls(tuple(doses), str(data.get("calibration", "")))


def _attribution(data: Mapping[str, Any] | None) -> Attribution | None:
    if data is None:
        return None
    known = {name: data[name] for name in Attribution.__dataclass_fields__ if name in data}
    return Attribution(**{**known, **{name: tuple(data[name]) for name in ("sentences", "types", "sites")}})


def worst(states: Iterable[State]) -> State:
    """Leak before inconclusive before clean; nothing at all is inconclusive."""
    found = set(states)
    if "leak" in found:
        return "leak"
    return "inconclusive" if "inconclusive" in found or not found else "clean"


def judge_role(
    role: str, runs: Sequence[Sequence[Reading]], limits: Mapping[str, float], trouble: str = ""
) -> RoleResult:
    """The verdict on one kind of process.

    Args:
        runs: per process, its readings after warm-up, the first at its end; each has `operations`.
        limits: growth per operation from which on it is a leak, by metric.
        trouble: why no verdict can be clean, "" if nothing is wrong.
    """
    series = {
        name: [
            Series(tuple(float(reading["operations"]) for reading in run), tuple(reading.get(name) for reading in run))
            for run in runs
        ]
        for name in METRICS
    }
    verdict = conclude(series, limits)
    if trouble and verdict.state == "clean":
        verdict = Verdict("inconclusive", verdict.growths, trouble)
    rest = {
        name: tuple(float(run[-1][name]) for run in runs)
        for name in METRICS
        if runs and all(run and run[-1].get(name) is not None for run in runs)
    }
    return RoleResult(role, verdict, rest)
