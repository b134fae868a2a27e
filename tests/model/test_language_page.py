"""docs/scenario-language.md is what the models say, and its examples are what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from harness.cli.language import EXAMPLES, language_page
from harness.files import plan_run, scenario_from_text
from harness.model.document import parse_document, validate

PAGE = Path(__file__).parents[2] / "docs" / "scenario-language.md"


def test_it_is_current() -> None:
    made = language_page()
    assert PAGE.read_text(encoding="utf-8") == made, "run: harness schema --as markdown > docs/scenario-language.md"


def test_every_key_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", language_page(), re.MULTILINE)
    assert len(rows) > 80
    assert not [key for key, meaning in rows if not meaning.strip()]


def test_links_lead_somewhere() -> None:
    page = language_page()
    headings = {line[3:].lower().replace(" ", "-") for line in page.splitlines() if line.startswith("## ")}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings


def test_the_first_example_is_a_scenario() -> None:
    text = language_page().split("```yaml\n")[1].split("```")[0]
    assert len(plan_run(scenario_from_text(text, "example.yaml"))) == 2 * 3 * 5


@pytest.mark.parametrize("model", EXAMPLES, ids=lambda model: model.__name__)
def test_examples_are_valid(model: type[BaseModel]) -> None:
    assert validate(parse_document(EXAMPLES[model], "example.yaml"), model)
    assert yaml.safe_load(EXAMPLES[model])
