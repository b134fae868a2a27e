"""Links that are off are probed again only where the machine was to blame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.lab.calm import probe_when_calm
from harness.links.measurement import LinkVerdict

FINE = LinkVerdict("l", "a", "b", 0.04, 0.04, 0.002, False, "")
OFF = LinkVerdict("l", "a", "b", 0.04, 0.06, 0.002, True, "p50 is 60 ms")


@dataclass
class Machine:
    """Each probe finds the next verdict, and may be disturbed: by lateness of the shaper, or by a hypervisor."""

    found: Sequence[LinkVerdict]
    valid: bool = True
    taken: int = 0
    paused: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._verdicts: Iterator[LinkVerdict] = iter(self.found)
        self._ticks = (0, 0)

    def stolen(self) -> tuple[int, int]:
        self._ticks = (self._ticks[0] + self.taken, self._ticks[1] + 100)
        return self._ticks

    def evidence(self) -> dict[str, Any]:
        return {"links": [], "valid": self.valid, "why": []}

    def probe(self) -> tuple[LinkVerdict, ...]:
        return (next(self._verdicts),)

    def run(self) -> tuple[LinkVerdict, int]:
        (verdict,), attempts = probe_when_calm(
            self.probe, self.evidence, self.said.append, stolen=self.stolen, sleep=self.paused.append
        )
        return verdict, attempts


def test_links_that_are_right_are_probed_once() -> None:
    machine = Machine([FINE, OFF], valid=False, taken=50)
    assert machine.run() == (FINE, 1)
    assert not machine.paused


def test_links_that_are_wrong_on_a_calm_machine_are_wrong() -> None:
    assert Machine([OFF, FINE]).run() == (OFF, 1)


def test_a_late_shaper_is_given_time() -> None:
    machine = Machine([OFF, OFF, FINE], valid=False)
    assert machine.run() == (FINE, 3)
    assert machine.paused == [1, 2]
    assert "busy" in machine.said[0]


def test_so_is_a_machine_whose_processors_were_taken() -> None:
    machine = Machine([OFF, FINE], taken=10)
    assert machine.run() == (FINE, 2)
    assert "10%" in machine.said[0]


def test_it_does_not_wait_for_ever() -> None:
    machine = Machine([OFF] * 10, valid=False)
    assert machine.run() == (OFF, 6)
    assert sum(machine.paused) == 30
