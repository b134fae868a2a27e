"""Who holds an object: chains of references that name the holder as people would."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from harness.agent.attribution import origins, start_tracing
from harness.memory.attribution import telling


def holders(name: str) -> list[str]:
    return origins([name])["holders"][name]  # type: ignore[no-any-return]


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
    (chain,) = holders(f"{__name__}.Registered")
    assert chain == f"{__name__}.Registered <- a dict of 5 <- class {__name__}.Registry.KEPT"


def test_classes_are_told_before_what_they_are_made_of() -> None:
    found = [{"type": "dict", "per_op": 6.0}, {"type": "a.B", "per_op": 2.0}, {"type": "a.C", "per_op": 1.0}]
    assert [one["type"] for one in telling(found)] == ["a.B", "a.C", "dict"]


def test_an_attribute_of_an_object_is_named_up_to_its_module() -> None:
    POOL.idle += [Pooled() for _ in range(3)]
    chains = holders(f"{__name__}.Pooled")
    assert chains == [f"{__name__}.Pooled <- a list of 3 <- {__name__}.Pool.idle <- module {__name__}.POOL"]


class Tupled:
    """Held in a tuple of a dictionary, as an event loop holds callbacks and their arguments."""


class Loop:
    def __init__(self) -> None:
        self.readers: dict[int, tuple[Any, ...]] = {}


LOOP = Loop()


def test_a_chain_goes_on_through_a_tuple() -> None:
    LOOP.readers.update({number: (Tupled(), number) for number in range(4)})
    (chain,) = holders(f"{__name__}.Tupled")
    loop = f"{__name__}.Loop.readers <- module {__name__}.LOOP"
    assert chain == f"{__name__}.Tupled <- a tuple of 2 <- a dict of 4 <- {loop}"


NAMES: set[str] = set()


@pytest.fixture
def traced() -> Iterator[None]:
    start_tracing()
    yield
    tracemalloc.stop()


def test_containers_that_grow_are_found_and_those_that_came_later_are_not(traced: None) -> None:
    NAMES.update(f"name-{number}" for number in range(1000))
    start_tracing()  # as at the second look: nothing begins anew
    later = [str(number) for number in range(2000)]
    found = origins([])["grown"]
    assert found[0] == {"more": 1000, "chain": f"set <- module {__name__}.NAMES"}
    assert not any(one["more"] == len(later) for one in found)


def test_descriptors_that_stay_open_are_told_by_kind(request: pytest.FixtureRequest) -> None:
    before = os.pipe()
    request.getfixturevalue("traced")
    opened = [*os.pipe(), *os.pipe(), os.open(os.devnull, os.O_RDONLY), os.eventfd(0)]
    try:
        assert origins([])["opened"] == {"pipe": 4, "/dev/null": 1, "eventfd": 1}
    finally:
        for descriptor in (*before, *opened):
            os.close(descriptor)


class Counted:
    """Some were there before tracing began, held elsewhere."""


def test_of_a_type_those_made_while_tracing_are_asked(request: pytest.FixtureRequest) -> None:
    POOL.idle[:] = [Counted() for _ in range(3)]
    request.getfixturevalue("traced")
    KEPT.update({number: Counted() for number in range(5)})
    name = f"{__name__}.Counted"
    found = origins([name])
    assert found["holders"][name] == [f"{name} <- a dict of 5 <- module {__name__}.KEPT"]
    assert found["allocated"][name][0].startswith(f"{__file__}:")


KEPT: dict[int, Counted] = {}


def test_what_a_collection_ends_meanwhile_does_no_harm() -> None:
    Finalized.HELD.update({number: Watched() for number in range(20_000)})
    ended = threading.Event()

    def litter() -> None:
        while not ended.wait(0):
            Finalized()

    thread = threading.Thread(target=litter)
    thread.start()
    try:
        # More than one chain where a collection of the other thread was under way: they differ in the number of items.
        chains = [chain for _ in range(3) for chain in holders(f"{__name__}.Watched")]
    finally:
        ended.set()
        thread.join()
    assert all(f"class {__name__}.Finalized.HELD" in chain for chain in chains)
    assert chains
