"""Calibration: how often the verdict is right on this host, measured with leaks made on purpose. Pure.

Every check is what a user's check is: a dose in R fresh processes, its verdict, and where that says leak another
process that must confirm it. What is left out: doubling a dose whose verdict is open, which is counted as open, and
attribution, which changes no verdict. The share of wrong verdicts is given
with the exact (Clopper-Pearson) bounds on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import betaincinv

from harness.analysis.leak import Verdict
from harness.memory.result import MemoryResult

__all__ = ["SCHEMA", "SETTINGS", "Calibration", "Rate", "Setting", "bounds", "scenario_of", "tally"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing to calibrate with.

    Attributes:
        name: what it is called in tables; also the beginning of its doses' names.
        kind: the kind of dose.
        count: operations per block.
        leak: the leak made on purpose ({} for none); see harness.model.memory.LeakFault.
        multiple: the leak as a multiple of the limit, 0 for none, None where it is of another kind.
    """

    name: str
    kind: str
    count: int
    leak: Mapping[str, Any]
    multiple: float | None = None


#: The limit is 0.1 blocks per message, 0.5 per cycle.
SETTINGS: tuple[Setting, ...] = (
    Setting("clean", "call", 200, {}, 0.0),
    Setting("half", "call", 200, {"what": "objects", "per_operation": 0.05}, 0.5),
    Setting("at", "call", 200, {"what": "objects", "per_operation": 0.1}, 1.0),
    Setting("double", "call", 200, {"what": "objects", "per_operation": 0.2}, 2.0),
    Setting("fourfold", "call", 200, {"what": "objects", "per_operation": 0.4}, 4.0),
    Setting("native", "call", 200, {"what": "bytes", "per_operation": 1.0, "size": 100}),
    Setting("descriptor", "call", 20, {"what": "fds", "per_operation": 1.0}),
    Setting("thread", "call", 10, {"what": "threads", "per_operation": 1.0}),
    Setting("connect", "connect", 20, {}, 0.0),
    Setting("connect-object", "connect", 20, {"what": "objects", "per_operation": 1.0}, 2.0),
    Setting("connect-native", "connect", 20, {"what": "bytes", "per_operation": 1.0, "size": 100}),
    Setting("connect-descriptor", "connect", 10, {"what": "fds", "per_operation": 1.0}),
    Setting("connect-thread", "connect", 10, {"what": "threads", "per_operation": 1.0}),
)


def scenario_of(
    settings: Sequence[tuple[Setting, int]], *, system: Mapping[str, Any], repetitions: int
) -> dict[str, Any]:
    """The scenario that makes so many checks of each setting, as its file would say it.

    Args:
        settings: with the number of checks of each.
        system: bus and stack of the one system.
    """
    doses = {}
    for setting, checks in settings:
        for number in range(1, checks + 1):
            dose: dict[str, Any] = {"kind": setting.kind, "count": setting.count}
            if setting.leak:
                size = {"size": f"{setting.leak['size']}B"} if "size" in setting.leak else {}
                dose["leak"] = {**setting.leak, **size}
            doses[f"{setting.name}-x{number}"] = dose
    return {
        "name": "calibrate",
        "title": "how often the memory verdict is right on this host",
        "topology": {"name": "one-site", "sites": ["here"]},
        "systems": {"calibrated": dict(system)},
        "memory": {
            "doses": doses,
            "repetitions": repetitions,
            "doublings": 0,
            "attribute": False,
        },
    }


def bounds(hits: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a proportion (Clopper & Pearson, Biometrika 26, 1934)."""
    rest = (1 - confidence) / 2
    low = float(betaincinv(hits, of - hits + 1, rest)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 1 - rest)) if hits < of else 1.0
    return low, high


@dataclass(frozen=True, slots=True)
class Rate:
    """How the checks of one setting came out.

    Attributes:
        setting: its name.
        system: what was calibrated.
        multiple: the leak as a multiple of the limit; 0: none was made; None: of another kind.
        leak: what was leaked per operation, in words; "" for nothing.
        checks, called: how many checks, and how many of them said leak.
        open: how many were inconclusive.
        low, high: exact 95 % bounds on the share that says leak.
        growth: mean growth measured of the metric that was leaked, per operation.
        spread: standard deviation of it between processes.
        load: how busy the machine was at the end: its load average of 5 minutes per processor, None if unknown.
        undone: how many clean checks had growth beyond a limit that was over or undone: a plateau, steps, or a backlog
            that drained at rest.
    """

    setting: str
    system: str
    multiple: float | None
    leak: str
    checks: int
    called: int
    open: int
    low: float
    high: float
    growth: float
    spread: float
    load: float | None = None
    undone: int = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a host's calibration says.

    Attributes:
        made: when, ISO 8601.
        host: facts about the machine.
        repetitions: processes per check.
        rates: by setting.
    """

    made: str
    host: Mapping[str, Any]
    repetitions: int
    rates: tuple[Rate, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}, not {SCHEMA}")
        return cls(data["made"], data["host"], data["repetitions"], tuple(Rate(**rate) for rate in data["rates"]))

    def refusal(self, host: Mapping[str, Any], repetitions: int) -> str:
        """Why what is measured on a host with so many processes per check cannot be added to this; "" if it can."""
        for key in ("machine", "distribution", "processor", "cpus"):
            if self.host.get(key) != host.get(key):
                return f"it is of another host: its {key} is {self.host.get(key)!r}, here {host.get(key)!r}"
        if self.repetitions != repetitions:
            return f"its checks are of {self.repetitions} processes, not of {repetitions}"
        return ""

    def updated(self, later: Calibration) -> Calibration:
        """This calibration with what a later one has measured again or more. Raises ValueError; see `refusal`."""
        if why := self.refusal(later.host, later.repetitions):
            raise ValueError(why)
        again = {(rate.system, rate.setting) for rate in later.rates}
        kept = tuple(rate for rate in self.rates if (rate.system, rate.setting) not in again)
        return Calibration(later.made, later.host, later.repetitions, kept + later.rates)

    def sentence(self) -> str:
        """What verdicts quote."""
        clean = [rate for rate in self.rates if rate.multiple == 0 and not rate.leak]
        called, of = sum(rate.called for rate in clean), sum(rate.checks for rate in clean)
        parts = []
        if of:
            parts.append(f"{called} of {of} clean checks were called a leak (at most {bounds(called, of)[1]:.1%})")
        double = [rate for rate in self.rates if rate.multiple == 2.0]
        called, of = sum(rate.called for rate in double), sum(rate.checks for rate in double)
        if of:
            parts.append(f"{called} of {of} leaks of twice the limit were found (at least {bounds(called, of)[0]:.1%})")
        return f"Calibrated on this host on {self.made[:10]}: " + ", and ".join(parts) + "." if parts else ""


_METRIC = {"objects": "blocks", "bytes": "heap", "fds": "fds", "threads": "threads"}


def tally(
    results: Mapping[str, MemoryResult], settings: Sequence[Setting], load: float | None = None
) -> Iterator[Rate]:
    """How the checks of each setting came out, by system; the servers of checks are clean checks of their own.

    Args:
        results: by system.
        load: of the machine; see Rate.
    """
    for system, result in results.items():
        for setting in settings:
            mine = [
                role for dose in result.doses if dose.name.rsplit("-x", 1)[0] == setting.name for role in dose.roles
            ]
            clients = [role.verdict for role in mine if role.role == "client"]
            servers = [role.verdict for role in mine if role.role == "server"]
            metric = _METRIC.get(str(setting.leak.get("what", "objects")), "blocks")
            told = f"{setting.leak['per_operation']:g} {setting.leak['what']}" if setting.leak else ""
            if clients:
                yield _rate(setting.name, system, setting.multiple, told, clients, metric, load)
            if servers:
                yield _rate(f"{setting.name}, servers", system, 0.0, "", servers, "blocks", load)


def _rate(
    name: str,
    system: str,
    multiple: float | None,
    leak: str,
    verdicts: Sequence[Verdict],
    metric: str,
    load: float | None,
) -> Rate:
    states = [verdict.state for verdict in verdicts]
    slopes = [slope for v in verdicts if metric in v.growths for slope in v.growths[metric].slopes]
    called = states.count("leak")
    mean = sum(slopes) / len(slopes) if slopes else 0.0
    spread = (sum((s - mean) ** 2 for s in slopes) / (len(slopes) - 1)) ** 0.5 if len(slopes) > 1 else 0.0
    low, high = bounds(called, len(states))
    return Rate(
        setting=name,
        system=system,
        multiple=multiple,
        leak=leak,
        checks=len(states),
        called=called,
        open=states.count("inconclusive"),
        low=low,
        high=high,
        growth=mean,
        spread=spread,
        load=load,
        undone=sum(verdict.state == "clean" and verdict.grew for verdict in verdicts),
    )
