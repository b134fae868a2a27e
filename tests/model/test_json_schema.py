"""The exported JSON Schema says what the models say: every shipped file is accepted, no misspelt key is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from jsonschema.protocols import Validator

from harness.files import load_scenario
from harness.lab.run import resolved_text
from harness.model.document import parse_document
from harness.model.json_schema import json_schema
from harness.model.scenario import Scenario
from harness.model.topology import Topology

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))
TOPOLOGIES = sorted((ROOT / "topologies").glob("*.yaml"))
SCENARIO = jsonschema.Draft202012Validator(json_schema(Scenario))
TOPOLOGY = jsonschema.Draft202012Validator(json_schema(Topology))
#: Keys whose own keys are anybody's: options of a client library, variables, lines of a configuration, sweeps.
FREE = ("options", "env", "config", "sweep")


def schema_of(path: Path) -> Validator:
    return SCENARIO if path.parent.name == "scenarios" else TOPOLOGY


def faults(schema: Validator, data: Any) -> list[str]:
    return [f"{list(error.absolute_path)}: {error.message[:200]}" for error in schema.iter_errors(data)]


def keys(data: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*path, key)
            if key not in FREE:
                yield from keys(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from keys(value, (*path, index))


@pytest.mark.parametrize("path", [*SCENARIOS, *TOPOLOGIES], ids=lambda path: path.name)
def test_shipped_files_are_accepted_and_misspelt_keys_are_not(path: Path) -> None:
    data = parse_document(path.read_text(encoding="utf-8"), path.name).data
    assert faults(schema_of(path), data) == []
    for at in keys(data):
        misspelt = copy.deepcopy(dict(data))
        here: Any = misspelt
        for part in at[:-1]:
            here = here[part]
        here[f"{at[-1]}_X"] = here.pop(at[-1])
        assert faults(schema_of(path), misspelt), f"{at} misspelt"


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_resolved_files_are_accepted(path: Path) -> None:
    assert faults(SCENARIO, yaml.safe_load(resolved_text(load_scenario(path)))) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": True},
        {"scale": "3"},
        {"repetitions": 0},
        {"topology": {"name": "t", "sites": {"core": {"subnett": "10.0.0.0/24"}}}},
        {"load": {"duration": 5}},
        {"load": {"duration": "5 fortnights"}},
    ],
)
def test_what_the_models_refuse_is_refused(changes: dict[str, Any]) -> None:
    data = yaml.safe_load((ROOT / "scenarios" / "quickstart.yaml").read_text(encoding="utf-8"))
    assert faults(SCENARIO, {**data, **changes})


def test_short_forms_are_accepted() -> None:
    assert faults(TOPOLOGY, {"name": "t", "sites": {"core": None, "edge": {}}}) == []
    assert faults(TOPOLOGY, {"name": "t", "sites": ["core"], "defaults": {"rtt": 0, "rate": "1.5Gbit"}}) == []
