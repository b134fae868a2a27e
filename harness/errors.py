"""The whole error tree of the harness, and the exit code each branch ends the command with.

Every error says *what* was wrong, *where* (file, line, key, node), what was *expected* and what to do next
(*remedy*). The command line prints exactly these four and never a traceback for anything below `HarnessError`.

    HarnessError
    ├── Regression             1   a gate or comparison found what it was asked to look for
    ├── BadInput               2   the user's files or arguments
    │   └── BadFile                a located finding in a scenario, topology or result file
    ├── InfrastructureFailure  3   the machine, the lab, a bus or an agent let the run down
    │   ├── MissingCapability      the machine lacks something the run needs
    │   ├── LabFailure             nodes, namespaces, containers
    │   ├── LinkFailure            a link could not be set, or is not what was declared
    │   │   └── ShaperDied         what shapes the links has ended; never tried again
    │   ├── BusFailure             a broker or router did not start, form or stay up
    │   ├── StackFailure           a client environment could not be built
    │   ├── AgentFailure           an agent died or broke its protocol
    │   ├── CellsFailed            some cells of a run failed; what the others gave is kept
    │   └── DamagedResult          a stored result cannot be read as what it claims to be
    ├── Inconclusive           4   the evidence does not decide
    └── Interrupted          130   the user asked to stop

Anything else that is raised is a fault of the harness itself and ends the command with 70 (`ExitCode.INTERNAL`), so
that a broken harness is never taken for a regression.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

__all__ = [
    "AgentFailure",
    "BadFile",
    "BadInput",
    "BusFailure",
    "CellsFailed",
    "DamagedResult",
    "ExitCode",
    "Finding",
    "HarnessError",
    "Inconclusive",
    "InfrastructureFailure",
    "Interrupted",
    "LabFailure",
    "LinkFailure",
    "MissingCapability",
    "Regression",
    "ShaperDied",
    "StackFailure",
    "require_known",
]


class ExitCode(IntEnum):
    """What the command's exit status means; stable, for CI."""

    OK = 0
    REGRESSION = 1
    BAD_INPUT = 2
    INFRASTRUCTURE = 3
    INCONCLUSIVE = 4
    INTERNAL = 70
    INTERRUPTED = 130


class HarnessError(Exception):
    """An error a user can act on.

    Args:
        what: what was wrong, one sentence without a full stop.
        where: file:line, key, node or agent it concerns.
        expected: what would have been right.
        remedy: what to do next.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INFRASTRUCTURE

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        tail = []
        if self.expected:
            tail.append(f"expected: {self.expected}")
        if self.remedy:
            tail.append(f"remedy: {self.remedy}")
        return "\n  ".join([head, *tail])


class Regression(HarnessError):
    """A gate or comparison found what it was asked to look for."""

    exit_code = ExitCode.REGRESSION


class BadInput(HarnessError):
    """An argument or a file of the user's cannot be used."""

    exit_code = ExitCode.BAD_INPUT


@dataclass(frozen=True, slots=True)
class Finding:
    """One located fault in a user's file.

    Attributes:
        file: path as the user gave it.
        line: 1-based line, or None where no line applies.
        key: dotted path of the offending key, "" for the document itself.
        what: what was wrong.
        expected: what would have been right.
        suggestion: the nearest known name, if one is near enough.
    """

    file: str
    line: int | None
    key: str
    what: str
    expected: str | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        text = f"{place}: {self.key}: {self.what}" if self.key else f"{place}: {self.what}"
        if self.expected:
            text += f"\n  expected: {self.expected}"
        if self.suggestion:
            text += f"\n  did you mean: {self.suggestion}?"
        return text


class BadFile(BadInput):
    """One or more located findings in a user's file; all are shown, in file order."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        super().__init__("\n".join(str(finding) for finding in findings))


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise BadInput, with the nearest known name, unless `name` is one of the known ones of its kind."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise BadInput(
            f"there is no {kind} {name!r}",
            expected=f"one of: {', '.join(names)}",
            remedy=f"did you mean {near[0]}?" if near else None,
        )


class InfrastructureFailure(HarnessError):
    """The machine, the lab, a bus or an agent let the run down; says nothing about the system measured."""

    exit_code = ExitCode.INFRASTRUCTURE


class MissingCapability(InfrastructureFailure):
    """The machine lacks something the run needs (a program, a kernel feature, a permission)."""


class LabFailure(InfrastructureFailure):
    """A node, namespace or container could not be made, reached or removed."""


class LinkFailure(InfrastructureFailure):
    """A link could not be set, is not what was declared, or its shaper died."""


class ShaperDied(LinkFailure):
    """What shapes the links has ended, and nothing crosses them any more. A cell that meets this is not run again by
    itself: a run whose distance was lost ends as a failure."""


class BusFailure(InfrastructureFailure):
    """A broker or router did not start, did not form its cluster or mesh, or died."""


class StackFailure(InfrastructureFailure):
    """A client environment could not be built or started."""


class AgentFailure(InfrastructureFailure):
    """An agent died, hung or broke its protocol."""


class CellsFailed(InfrastructureFailure):
    """Some cells of a run failed; the others were run, and all of it is stored at `where`."""


class DamagedResult(InfrastructureFailure):
    """A stored result cannot be read as what it claims to be."""


class Inconclusive(HarnessError):
    """The evidence at hand does not decide."""

    exit_code = ExitCode.INCONCLUSIVE


class Interrupted(HarnessError):
    """The user asked to stop; what was recorded is kept and marked."""

    exit_code = ExitCode.INTERRUPTED
