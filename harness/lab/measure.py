"""Runs the memory section of a scenario alone: what gates and tests measure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import BadInput
from harness.files import LoadedScenario, load_scenario
from harness.lab.observer import Observer, Silent
from harness.lab.run import RunSettings, run_scenario

__all__ = ["measure_memory"]


def measure_memory(
    scenario: Path,
    results: Path,
    *,
    runtime: str = "local",
    links: str = "auto",
    systems: Sequence[str] = (),
    smoke: bool = False,
    observer: Observer | None = None,
) -> Path:
    """Run the doses of a scenario, without its load.

    Args:
        scenario: its file.
        results: the results directory.
        smoke: 3 processes per dose, nothing doubled, nothing attributed.

    Returns:
        The result's directory.

    Raises:
        BadInput: the scenario has no memory section, or is wrong otherwise.
        HarnessError: it could not be carried out.
    """
    loaded = load_scenario(scenario)
    if loaded.scenario.memory is None:
        raise BadInput("the scenario has no memory section", where=str(scenario), remedy="see scenarios/memory-*.yaml")
    settings = RunSettings(
        results=results, runtime=runtime, links=links, systems=tuple(systems), command=("harness", *sys.argv[1:])
    )
    return run_scenario(_memory_only(loaded, smoke), settings, observer or Silent())


def _memory_only(loaded: LoadedScenario, smoke: bool) -> LoadedScenario:
    """The scenario without its load; a smoke check with few processes. The sweep reads the file's data again."""
    data = {key: value for key, value in loaded.document.data.items() if key != "workloads"}
    changes: dict[str, object] = {"workloads": {}}
    if smoke and loaded.scenario.memory is not None:
        quick = {"repetitions": 3, "doublings": 0, "attribute": False}
        data["memory"] = {**data["memory"], **quick}
        changes["memory"] = loaded.scenario.memory.model_copy(update=quick)
    document = replace(loaded.document, data=data)
    inline = loaded.topology_document is loaded.document
    return replace(
        loaded,
        scenario=loaded.scenario.model_copy(update=changes),
        document=document,
        topology_document=document if inline else loaded.topology_document,
    )
