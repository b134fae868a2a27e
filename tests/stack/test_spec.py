"""The stack specification: what it accepts and refuses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.model.stack import StackSpec, check_requirement
from harness.stack.shipped import SHIPPED, shipped_stack


@pytest.mark.parametrize("text", ["kombu==5.7.0", "oslo.messaging[amqp1]==14.7.3", 'amqp==5.4.2; python_version > "3"'])
def test_a_pinned_requirement_is_kept_as_written(text: str) -> None:
    assert check_requirement(text) == text


@pytest.mark.parametrize("text", ["kombu", "kombu>=5", "kombu==5.*", "not a package!", "", "--index-url=x"])
def test_an_unpinned_or_malformed_requirement_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        StackSpec(name="mine", requirements=(text,))


@pytest.mark.parametrize("python", ["3.11", "3.11.7", "/usr/bin/python3"])
def test_python_is_a_version_or_an_absolute_path(python: str) -> None:
    assert StackSpec(name="mine", python=python).python == python


@pytest.mark.parametrize("python", ["python3", "2.7", "bin/python", "latest"])
def test_any_other_python_is_refused(python: str) -> None:
    with pytest.raises(ValidationError, match="neither a Python version"):
        StackSpec(name="mine", python=python)


@pytest.mark.parametrize("name", ["", "Mine", "../etc", "-x", "a b"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        StackSpec(name=name)


def test_shipped_stacks_have_distinct_names() -> None:
    names = [spec.name for spec in SHIPPED]
    assert len(names) == len(set(names))


def test_the_fair_pair_differs_in_nothing_both_have() -> None:
    rabbit, amqp1 = shipped_stack("oslo-14.7.3-rabbit"), shipped_stack("oslo-14.7.3-amqp1")
    assert set(rabbit.requirements) < set(amqp1.requirements)
    assert rabbit.constraints == amqp1.constraints
    assert rabbit.env == amqp1.env
    assert rabbit.python == amqp1.python


def test_version_of_finds_a_pin_under_any_spelling() -> None:
    spec = shipped_stack("oslo-14.7.3-rabbit")
    assert spec.version_of("oslo_messaging") == "14.7.3"
    assert spec.version_of("Oslo.Config") is not None
    assert spec.version_of("django") is None
    assert spec.model_copy(update={"overrides": ("oslo.messaging==14.9.3",)}).version_of("oslo.messaging") == "14.9.3"


@pytest.mark.parametrize(
    ("requirements", "driver", "adapters"),
    [
        ([], "none", ["loopback"]),
        (["oslo.messaging==16.0.0"], "rabbit", ["oslo", "kombu", "loopback"]),
        (["oslo_messaging[amqp1]==14.9.3", "python-qpid-proton==0.40.0"], "amqp1", ["oslo", "proton", "loopback"]),
        (["kombu==5.4.2"], "none", ["kombu", "loopback"]),
        (["Oslo-Messaging @ https://example.org/oslo.tar.gz"], "amqp1", ["oslo", "loopback"]),
    ],
)
def test_a_stack_has_the_adapters_its_requirements_bring(
    requirements: list[str], driver: str, adapters: list[str]
) -> None:
    spec = {"name": "own", "requirements": requirements, "driver": driver}
    assert list(StackSpec.model_validate(spec).adapters) == adapters
    assert StackSpec.model_validate({**spec, "adapters": ["proton"]}).adapters == ("proton",)


def test_a_specification_survives_json() -> None:
    for spec in SHIPPED:
        assert StackSpec.model_validate_json(spec.model_dump_json()) == spec
