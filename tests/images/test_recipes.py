"""What images are built from, as text: names say what is in them, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import StackFailure
from harness.images.build import passing_files
from harness.images.recipes import (
    Recipe,
    builder_recipe,
    fits_debian,
    python_base,
    rabbitmq_recipe,
    source_only,
    stack_home,
    stack_recipe,
    tools_recipe,
    wheel_recipe,
)
from harness.model.stack import StackSpec
from harness.stack.shipped import shipped_stack

PASSING = {"passing.sh": "export X=1\n", "ca.pem": ""}
AMQP1 = shipped_stack("oslo-14.7.3-amqp1")


def recipes() -> list[Recipe]:
    return [
        tools_recipe("debian:bookworm-slim"),
        rabbitmq_recipe("tools"),
        builder_recipe("tools", "0.4.0", PASSING),
        wheel_recipe("python-qpid-proton==0.40.0", "builder", PASSING),
        stack_recipe(AMQP1, "tools", "builder", ["wheel"], PASSING),
    ]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.kind)
def test_a_name_says_what_is_in_the_image(recipe: Recipe) -> None:
    name = recipe.reference("base-1")
    assert name == recipe.reference("base-1")
    assert name.startswith(f"femdc-harness/{recipe.kind}:")
    assert name != recipe.reference("base-2")
    assert name != replace(recipe, dockerfile=recipe.dockerfile + "RUN true\n").reference("base-1")
    assert name != replace(recipe, files={**recipe.files, "more": ""}).reference("base-1")


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.kind)
def test_how_an_index_is_reached_is_not_part_of_the_name(recipe: Recipe) -> None:
    assert replace(recipe, passing_files={"passing.sh": "other"}).reference("b") == recipe.reference("b")


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.kind)
def test_dockerfiles_name_their_base_and_leave_no_placeholder(recipe: Recipe) -> None:
    text = recipe.dockerfile.format(base=recipe.base)
    assert f"FROM {recipe.base}" in text
    assert "{{" not in text
    assert "{base}" not in text


def test_equal_packages_have_one_home_whatever_the_stack_is_called() -> None:
    assert stack_home(AMQP1) == stack_home(AMQP1.model_copy(update={"name": "other", "env": {}}))
    assert stack_home(AMQP1) != stack_home(shipped_stack("oslo-14.7.3-rabbit"))
    assert stack_home(AMQP1) != stack_home(AMQP1.model_copy(update={"python": "3.12"}))


def test_what_must_be_compiled_is_compiled_once() -> None:
    assert source_only(AMQP1) == ("python-qpid-proton==0.40.0",)
    assert source_only(AMQP1) == source_only(shipped_stack("proton"))
    assert source_only(shipped_stack("oslo-14.7.3-rabbit")) == ()


def test_the_public_python_of_a_stack() -> None:
    assert python_base(StackSpec(name="s", python="3.9"), "3.11.2") == "python:3.9-slim-bookworm"
    assert python_base(StackSpec(name="s"), "3.11.2") == "python:3.11-slim-bookworm"
    assert fits_debian("python:3.11-slim-bookworm")
    assert not fits_debian("python:3.12-slim-bookworm")
    with pytest.raises(StackFailure, match="/opt/python"):
        python_base(StackSpec(name="s", python="/opt/python"), "3.11.2")


def test_index_settings_are_quoted_and_local_ones_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "UV_DEFAULT_INDEX",
        "UV_INDEX_URL",
        "PIP_CERT",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.invalid/$(touch x)/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///srv/wheels https://two.invalid/simple")
    text = passing_files()["passing.sh"]
    assert "export PIP_INDEX_URL='https://example.invalid/$(touch x)/simple'\n" in text
    assert "export UV_INDEX=https://two.invalid/simple\n" in text
    assert "CERT" not in text
