"""What runs where an image cannot be had, and what is said of it; the engine is made up."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import LabFailure
from harness.images import provide
from harness.images.choice import Image
from harness.images.provide import RABBITMQ, ROUTER, _Provider
from harness.images.recipes import Recipe
from harness.images.sources import NoRegistry, NoSuchImage, RateLimited
from harness.plan.cell import BusNodePlan, BusPlan, NodePlan

TOOLS = Image("femdc-harness/tools:1", "sha256:1", (), ("python3",))
PROTON = Image("femdc-harness/stack:1", "sha256:2", (), ("python3",))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> _Provider:
    """On an engine without images."""
    monkeypatch.setattr(provide, "tools_image", lambda engine, say: TOOLS)
    monkeypatch.setattr(provide, "image_id", lambda engine, reference: None)
    monkeypatch.setattr(provide, "local_tag", lambda engine, reference: None)
    monkeypatch.setattr(provide, "built_already", lambda engine, recipe: None)
    engine: Any = None
    made = _Provider(engine, lambda title, line: None)
    made.stacks["proton"] = PROTON
    return made


def refuse(monkeypatch: pytest.MonkeyPatch, failure: LabFailure) -> None:
    def pull(*_: object) -> None:
        raise failure

    monkeypatch.setattr(provide, "pull", pull)
    monkeypatch.setattr(provide, "require_image", pull)


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (NoRegistry("unreachable"), f"no registry was reached for {RABBITMQ}: brokers"),
        (RateLimited("toomanyrequests"), "rate limit"),
    ],
)
def test_a_broker_is_debians_where_the_public_image_cannot_be_had(
    provider: _Provider, monkeypatch: pytest.MonkeyPatch, failure: LabFailure, says: str
) -> None:
    refuse(monkeypatch, failure)
    assert isinstance(provider._broker(), Recipe)
    (note,) = provider.notes
    assert says in note
    assert "Debian's RabbitMQ" in note


def test_a_broker_made_earlier_is_not_blamed_on_a_registry_nobody_asked(
    provider: _Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provide, "built_already", lambda engine, recipe: object())
    monkeypatch.setattr(provide, "pull", lambda *_: pytest.fail("nobody is asked"))
    assert isinstance(provider._broker(), Recipe)
    (note,) = provider.notes
    assert "made earlier" in note
    assert "no registry was reached" not in note


@pytest.mark.parametrize(
    "failure", [NoRegistry("unreachable"), RateLimited("limit"), NoSuchImage("refused"), NoSuchImage("not for arm64")]
)
def test_routers_fall_back_unless_a_real_one_is_insisted_on(
    provider: _Provider, monkeypatch: pytest.MonkeyPatch, failure: LabFailure
) -> None:
    refuse(monkeypatch, failure)
    assert provider._router("auto") is None
    (note,) = provider.notes
    assert "embedded stand-in" in note
    with pytest.raises(type(failure)):
        provider._router("skrouterd")


def test_a_full_disk_is_no_reason_for_a_stand_in(provider: _Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, LabFailure(f"image {ROUTER} cannot be had: no space left on device"))
    with pytest.raises(LabFailure, match="no space"):
        provider._router("auto")


def test_a_named_router_image_nobody_can_ask_for_falls_back_and_a_typing_error_does_not(
    provider: _Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = "quay.io/me/router:1"
    node = NodePlan("router-a", "a", "bus", "10.0.0.9", "fd00::9", named)
    bus = BusPlan("main", "router", (BusNodePlan("router-a", "a"),), {"implementation": "auto"})
    refuse(monkeypatch, NoRegistry("unreachable"))
    with pytest.raises(NoRegistry):
        provider._require_named(named, strict=True)
    provider._require_named(named, strict=False)
    assert provider._bus_node(node, bus, None, {}).image == PROTON.reference
    assert "stand-in" in provider.notes[0]
    refuse(monkeypatch, NoSuchImage("typo"))
    with pytest.raises(NoSuchImage):
        provider._require_named(named, strict=False)
