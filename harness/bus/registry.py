"""The buses there are, what each needs beside its clients' stacks, and how one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.bus.loopback import LoopbackBus
from harness.bus.protocol import Bus
from harness.bus.rabbitmq import RabbitmqBus
from harness.bus.router.bus import RouterBus

__all__ = ["BUILT_IN", "BusKind", "helper_stacks", "make_bus"]

#: The stack whose Python runs the embedded router and the routers' management client.
PROTON = "proton"


@dataclass(frozen=True, slots=True)
class BusKind:
    """How buses of a kind are made.

    Attributes:
        make: from the interpreters of the stacks it needs, as paths in the nodes, by stack name.
        stacks: names of those stacks.
    """

    make: Callable[[Mapping[str, str]], Bus]
    stacks: tuple[str, ...] = ()


#: Every kind of bus by name.
BUILT_IN: Mapping[str, BusKind] = MappingProxyType(
    {
        "rabbitmq": BusKind(lambda pythons: RabbitmqBus()),
        "router": BusKind(lambda pythons: RouterBus(pythons[PROTON]), (PROTON,)),
        "loopback": BusKind(lambda pythons: LoopbackBus()),
    }
)


def helper_stacks(kind: str) -> tuple[str, ...]:
    """Names of the stacks a bus kind needs for itself. Raises KeyError."""
    return BUILT_IN[kind].stacks


def make_bus(kind: str, pythons: Mapping[str, str]) -> Bus:
    """A bus of that kind, not yet started. Raises KeyError."""
    return BUILT_IN[kind].make(pythons)
