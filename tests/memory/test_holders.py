"""Who holds an object: chains of references that name the holder as people would."""

from __future__ import annotations

import threading
from typing import Any

from harness.agent.attribution import holders
from harness.memory.attribution import telling


class Registered:
    """Held by a registry of a class."""


class Registry:
    KEPT: dict[int, Registered] = {}  # noqa: RUF012


class Pooled:
    """Held by an object's attribute."""


class Pool:
    def __init__(self) -> None:
        self.idle: list[Any] = []


POOL = Pool()


class Watched:
    """Held by a dictionary that changes while it is read."""


class Finalized:
    """Garbage that only a collection finds, and whose end changes the dictionary above."""

    HELD: dict[int, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        self.HELD[id(self)] = None
        self.HELD[-len(self.HELD)] = None


def test_a_registry_of_a_class_is_named() -> None:
    for number in range(5):
        Registry.KEPT[number] = Registered()
    (chain,) = holders([f"{__name__}.Registered"])[f"{__name__}.Registered"]
    assert chain == f"{__name__}.Registered <- a dict of 5 <- class {__name__}.Registry.KEPT"


def test_classes_are_told_before_what_they_are_made_of() -> None:
    found = [{"type": "dict", "per_op": 6.0}, {"type": "a.B", "per_op": 2.0}, {"type": "a.C", "per_op": 1.0}]
    assert [one["type"] for one in telling(found)] == ["a.B", "a.C", "dict"]


def test_an_attribute_of_an_object_is_named_up_to_its_module() -> None:
    POOL.idle += [Pooled() for _ in range(3)]
    chains = holders([f"{__name__}.Pooled"])[f"{__name__}.Pooled"]
    assert chains == [f"{__name__}.Pooled <- a list of 3 <- {__name__}.Pool.idle <- module {__name__}.POOL"]


def test_what_a_collection_ends_meanwhile_does_no_harm() -> None:
    Finalized.HELD.update({number: Watched() for number in range(20_000)})
    ended = threading.Event()

    def litter() -> None:
        while not ended.wait(0):
            Finalized()

    thread = threading.Thread(target=litter)
    thread.start()
    try:
        for _ in range(3):
            (chain,) = holders([f"{__name__}.Watched"])[f"{__name__}.Watched"]
    finally:
        ended.set()
        thread.join()
    assert f"class {__name__}.Finalized.HELD" in chain
