"""The configuration a RabbitMQ broker is given."""

from __future__ import annotations

import pytest

from harness.bus.rabbitmq import broker_configuration
from harness.plan.cell import BusNodePlan, BusPlan

PERMIT = "deprecated_features.permit.transient_nonexcl_queues"


def plan(*brokers: str, **options: object) -> BusPlan:
    nodes = tuple(BusNodePlan(name, "core") for name in brokers or ("broker",))
    return BusPlan(name="b", kind="rabbitmq", nodes=nodes, options=options)


def settings(text: str) -> dict[str, str]:
    return dict(line.split(" = ", 1) for line in text.splitlines())


@pytest.mark.parametrize(
    ("version", "permit"), [(None, None), ((3, 10), None), ((3, 13), None), ((4, 0), "true"), ((4, 3), "true")]
)
def test_brokers_that_would_refuse_the_clients_queues_are_told_to_permit_them(
    version: tuple[int, int] | None, permit: str | None
) -> None:
    assert settings(broker_configuration(plan(), "secret", version)).get(PERMIT) == permit


def test_a_scenarios_own_settings_come_last() -> None:
    given = plan(config={PERMIT: False, "vm_memory_high_watermark.relative": 0.6})
    found = settings(broker_configuration(given, "secret", (4, 3)))
    assert found[PERMIT] == "false"
    assert found["vm_memory_high_watermark.relative"] == "0.6"
    assert found["default_pass"] == "secret"


def test_brokers_of_a_cluster_know_each_other() -> None:
    found = settings(broker_configuration(plan("b1", "b2"), "secret"))
    assert found["cluster_formation.peer_discovery_backend"] == "classic_config"
    assert [found[f"cluster_formation.classic_config.nodes.{number}"] for number in (1, 2)] == [
        "rabbit@b1",
        "rabbit@b2",
    ]
