"""pytest plug-in: the fixture `client_memory`, with which a project tests that its own client code does not leak.

    def test_no_leak(client_memory):
        client_memory(lambda: client.call("echo"))

    def test_no_leak_over_a_real_broker(client_memory):
        client_memory.scenario("scenarios/memory-rabbit.yaml")

The callable is called by doses in fresh processes (harness.memory.forked), memory is read at rest between blocks, and
the verdict is asserted in the test's call phase, so that JUnit says what happened. A test that also uses
pytest-benchmark's `benchmark` fixture gets the figures in its `extra_info`. Works under pytest-xdist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.memory.result import RoleResult

__all__ = ["ClientMemory", "client_memory"]


class ClientMemory:
    """Doses callables and scenarios, and asserts that memory stays.

    Attributes:
        results: the results so far, the latest last.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self.results: list[RoleResult] = []

    def __call__(
        self,
        action: Callable[[], object],
        *,
        count: int | None = None,
        cycle: bool = False,
        repetitions: int = 3,
        blocks: int = 12,
        warmup_blocks: int = 4,
        doublings: int = 2,
        limits: Mapping[str, float] | None = None,
        timeout_s: float = 300.0,
        rest_s: float = 5.0,
    ) -> RoleResult:
        """Assert that calling `action` does not leak; returns the evidence.

        Args:
            action: called without arguments, thousands of times, in processes forked from this one.
            count: calls per block; by default as many as take a twentieth of a second, 20 to 2,000.
            cycle: whether one call is a cycle of life (connect and close) and not a message: limits are then for
                cycles (0.5 blocks, 50 B of heap, 0.05 descriptors per call, instead of 0.1, 16 and 0.001).
            repetitions: processes; fewer than two give no verdict.
            blocks, warmup_blocks: measured blocks, and those before the first reading that counts.
            doublings: how often an undecided dose is doubled before the test fails as inconclusive.
            limits: growth per call that is a leak: blocks, heap, anonymous, fds, threads, sockets.
            timeout_s: how long one process may take.
            rest_s: before a leak is called one: rest that must not drain it; longer than the client's own time-outs.
        """
        __tracebackhide__ = True
        from harness.errors import HarnessError
        from harness.memory.forked import CallableDose, dose_callable, suggested_count
        from harness.memory.told import told

        failure = ""
        try:
            dose = CallableDose.of(
                count or suggested_count(action),
                cycle=cycle,
                limits=limits or {},
                repetitions=repetitions,
                blocks=blocks,
                warmup_blocks=warmup_blocks,
                doublings=doublings,
                timeout_s=timeout_s,
                rest_s=rest_s,
            )
            result, level = dose_callable(action, dose)
        except HarnessError as error:
            failure = f"client memory could not be measured: {error}"
        if failure:
            pytest.fail(failure, pytrace=False)
        self.results.append(result)
        figures = {
            "state": result.verdict.state,
            "count": dose.count << level,
            "blocks": blocks,
            "repetitions": repetitions,
            **{f"{name}_per_call": growth.per_op for name, growth in result.verdict.growths.items()},
        }
        self._record(figures)
        if result.verdict.state != "clean":
            pytest.fail(told(result, dose.count << level, repetitions), pytrace=False)
        return result

    def scenario(
        self,
        scenario: str | Path,
        *,
        runtime: str = "local",
        systems: tuple[str, ...] = (),
        results: str | Path = "results",
        baseline: str | Path | None = None,
    ) -> Any:
        """Assert that the memory doses of a scenario pass; returns the gate's report.

        Args:
            scenario: its file; only its memory section is run.
            runtime: where nodes live; see `harness run`.
            systems: only these of its systems.
            results: the results directory.
            baseline: a baseline to compare with as well.
        """
        __tracebackhide__ = True
        from harness.errors import ExitCode, HarnessError
        from harness.lab.measure import measure_memory
        from harness.memory.measured import gate_run
        from harness.report.gate import gate_markdown
        from harness.store.run import load_run

        failure = ""
        try:
            path = measure_memory(Path(scenario), Path(results), runtime=runtime, systems=systems)
            report = gate_run(load_run(path), Path(baseline) if baseline is not None else None, {})
        except HarnessError as error:
            failure = f"client memory could not be measured: {error}"
        if failure:
            pytest.fail(failure, pytrace=False)
        self._record({"state": report.exit_code.name.lower(), "run": str(path)})
        if report.exit_code != ExitCode.OK:
            pytest.fail(gate_markdown(report), pytrace=False)
        return report

    def _record(self, figures: Mapping[str, Any]) -> None:
        """Into JUnit's properties, and into pytest-benchmark's record of this test where it is used."""
        for name, value in figures.items():
            self._request.node.user_properties.append((f"memory_{name}", value))
        if "benchmark" in self._request.fixturenames:
            self._request.getfixturevalue("benchmark").extra_info["client_memory"] = dict(figures)


@pytest.fixture
def client_memory(request: pytest.FixtureRequest) -> ClientMemory:
    """Assert that client code does not leak memory, descriptors or threads."""
    return ClientMemory(request)
