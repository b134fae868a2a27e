"""The images of a run: every stack and every bus component gets one, before the first lab is made."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from harness.errors import BadInput, LabFailure, StackFailure
from harness.images.build import Say, build, built_already, name_of, passing_files
from harness.images.choice import Image, describe, tools_image
from harness.images.inside import look_inside
from harness.images.recipes import (
    PYTHON,
    Recipe,
    builder_recipe,
    fits_debian,
    python_base,
    rabbitmq_recipe,
    source_only,
    stack_home,
    stack_recipe,
    wheel_recipe,
)
from harness.images.sources import NoRegistry, NoSuchImage, RateLimited, image_id, local_tag, pull, require_image
from harness.model.stack import StackSpec
from harness.plan.cell import BusPlan, CellPlan, NodePlan
from harness.runtime.docker.engine import Engine
from harness.stack.build import StackEnvironment

__all__ = ["PROTON", "RABBITMQ", "ROUTER", "Provided", "provide_images"]

RABBITMQ = "rabbitmq:4-management"
ROUTER = "quay.io/skupper/skupper-router"
#: The stack whose Python asks routers about themselves and runs the embedded one.
PROTON = "proton"


@dataclass(frozen=True, slots=True)
class Provided:
    """What a run needs before its first lab.

    Attributes:
        environments: every stack, as it is in the nodes, by name.
        cells: the cells, with images where the runtime wants them.
        notes: what is not as one would expect, for people and for the record.
    """

    environments: Mapping[str, StackEnvironment]
    cells: tuple[CellPlan, ...]
    notes: tuple[str, ...] = ()


def provide_images(engine: Engine, specs: Sequence[StackSpec], cells: Sequence[CellPlan], say: Say) -> Provided:
    """Pull and build what cells need, and put its names into their plans.

    Args:
        specs: the stacks of all agents and buses.
        say: called with (what, line), from several threads.

    Raises:
        NoRegistry, NoSuchImage: an image the scenario names cannot be had.
        StackFailure: a stack cannot be built as an image.
        LabFailure, MissingCapability: the engine, or what makes images without a registry.
    """
    return _Provider(engine, say).provide(specs, cells)


@dataclass(frozen=True, slots=True)
class _Way:
    """How one stack comes to be."""

    builder: Recipe
    wheels: tuple[Recipe, ...]
    stack: Recipe


class _Provider:
    def __init__(self, engine: Engine, say: Say) -> None:
        self.engine = engine
        self.say = say
        self.notes: list[str] = []
        self.tools = tools_image(engine, say)
        self.stacks: dict[str, Image] = {}
        self.own: set[str] = set()
        self.lacking: set[str] = set()
        self.passing = passing_files()

    def provide(self, specs: Sequence[StackSpec], cells: Sequence[CellPlan]) -> Provided:
        plans = [bus for cell in cells for bus in cell.buses]
        named = {node.name: node.image for cell in cells for node in cell.lab.nodes}
        may_fall_back = {
            node.name for bus in plans if bus.kind == "router" and _implementation(bus) == "auto" for node in bus.nodes
        }
        strict = {image for name, image in named.items() if name not in may_fall_back}
        for image in dict.fromkeys(image for image in named.values() if image):
            self._require_named(image, strict=image in strict)
        default = [bus for bus in plans if any(not named[node.name] for node in bus.nodes)]
        broker = self._broker() if any(bus.kind == "rabbitmq" for bus in default) else None
        routers = dict.fromkeys(_implementation(bus) for bus in default if bus.kind == "router")
        found = {wanted: self._router(wanted) for wanted in routers}
        recipes = [broker] if isinstance(broker, Recipe) else []
        environments = self._stacks(specs, recipes)
        public = self._reference(broker) if isinstance(broker, Recipe) else broker
        cells = [self._with_images(cell, public, found) for cell in cells]
        return Provided(environments, tuple(cells), tuple(dict.fromkeys(self.notes)))

    def _require(self, reference: str) -> None:
        require_image(self.engine, reference, lambda line: self.say(reference, line))

    def _require_named(self, reference: str, *, strict: bool) -> None:
        """An image the scenario names. One that does not exist is an error; routers may do without one nobody can ask
        for."""
        try:
            self._require(reference)
        except NoRegistry as failure:
            if strict:
                raise
            self.lacking.add(reference)
            self.notes.append(f"{_why(failure, reference)}: its routers are the embedded stand-in")

    # -- buses ------------------------------------------------------------------------------------------------------

    def _broker(self) -> str | Recipe:
        """The public image, or how to make one of Debian's package."""
        if image_id(self.engine, RABBITMQ) is not None:
            return RABBITMQ
        recipe = rabbitmq_recipe(self.tools.reference)
        if built_already(self.engine, recipe) is not None:
            self.notes.append(
                f"brokers run the image made earlier of Debian's RabbitMQ, because {RABBITMQ} could not be had then; "
                f"once it is pulled (`docker pull {RABBITMQ}`) it is used instead"
            )
            return recipe
        try:
            pull(self.engine, RABBITMQ, lambda line: self.say(RABBITMQ, line))
        except NoRegistry as failure:
            self.notes.append(f"{_why(failure, RABBITMQ)}: brokers run Debian's RabbitMQ")
            return recipe
        return RABBITMQ

    def _router(self, wanted: str) -> str | None:
        """The real router's image, or None for the embedded router."""
        if wanted == "embedded":
            return None
        there = local_tag(self.engine, ROUTER)
        if there is not None:
            return there
        try:
            pull(self.engine, ROUTER, lambda line: self.say(ROUTER, line))
        except (NoRegistry, NoSuchImage) as failure:
            if wanted == "skrouterd":
                raise
            self.notes.append(f"{_why(failure, ROUTER)}: routers are the embedded stand-in")
            return None
        return local_tag(self.engine, ROUTER)

    # -- stacks -----------------------------------------------------------------------------------------------------

    def _stacks(self, specs: Sequence[StackSpec], more: Sequence[Recipe]) -> dict[str, StackEnvironment]:
        """Every stack's image, found or built; in three rounds, as one is built in what another left."""
        made = [spec for spec in specs if spec.image is None]
        ways = {spec.name: self._way(spec) for spec in made}
        lacking = [way for way in ways.values() if built_already(self.engine, way.stack) is None]
        for recipes in (
            [*more, *(way.builder for way in lacking)],
            [wheel for way in lacking for wheel in way.wheels],
            [way.stack for way in lacking],
        ):
            build(self.engine, list({recipe.title: recipe for recipe in recipes}.values()), self.say)
        for name, way in ways.items():
            self.stacks[name] = describe(self.engine, self._reference(way.stack))
        for spec in specs:
            if spec.image is not None:
                self._require(spec.image)
                self.stacks[spec.name] = describe(self.engine, spec.image)
                self.own.add(spec.image)
        return {
            spec.name: look_inside(
                self.engine,
                spec,
                self.stacks[spec.name],
                PYTHON if spec.image is not None else f"{stack_home(spec)}/bin/python",
            )
            for spec in specs
        }

    def _way(self, spec: StackSpec) -> _Way:
        base = self._stack_base(spec)
        builder = builder_recipe(base, version("uv"), self.passing)
        built = self._reference(builder)
        wheels = tuple(wheel_recipe(line, built, self.passing) for line in source_only(spec))
        stack = stack_recipe(spec, base, built, [self._reference(wheel) for wheel in wheels], self.passing)
        return _Way(builder, wheels, stack)

    def _stack_base(self, spec: StackSpec) -> str:
        """The public Python image; without a registry the tools image, if Debian's Python is the one asked for.

        Where a stack has been built on the tools image before, no registry is asked again.
        """
        public = python_base(spec, platform.python_version())
        fits = fits_debian(public)
        if image_id(self.engine, public) is not None:
            return public
        if fits and built_already(self.engine, builder_recipe(self.tools.reference, version("uv"), self.passing)):
            return self.tools.reference
        try:
            pull(self.engine, public, lambda line: self.say(public, line))
        except NoRegistry as failure:
            if not fits:
                raise StackFailure(
                    f"it is built from {public}, which could not be had: {failure.what}",
                    where=f"stack {spec.name}",
                    remedy="without a registry stacks are built on Debian's Python 3.11: ask for that version, or load "
                    f"{public} into the engine by hand",
                ) from failure
            return self.tools.reference
        return public

    def _reference(self, recipe: Recipe) -> str:
        reference = name_of(self.engine, recipe)
        assert reference is not None  # what it is built from is ours, or has just been looked up
        return reference

    # -- plans ------------------------------------------------------------------------------------------------------

    def _with_images(self, cell: CellPlan, broker: str | None, routers: Mapping[str, str | None]) -> CellPlan:
        uses: dict[str, list[str]] = {}
        for agent in cell.agents:
            stacks = uses.setdefault(agent.node, [])
            if agent.stack not in stacks:
                stacks.append(agent.stack)
        buses = {node.name: bus for bus in cell.buses for node in bus.nodes}
        nodes = tuple(
            self._bus_node(node, buses[node.name], broker, routers)
            if node.name in buses
            else self._host(node, uses.get(node.name, ()))
            for node in cell.lab.nodes
        )
        return replace(cell, lab=replace(cell.lab, nodes=nodes))

    def _bus_node(
        self, node: NodePlan, bus: BusPlan, broker: str | None, routers: Mapping[str, str | None]
    ) -> NodePlan:
        if bus.kind == "rabbitmq":
            return replace(node, image=node.image or broker)
        proton = self.stacks[PROTON].reference
        real = node.image or routers.get(_implementation(bus))
        if real in self.lacking and _implementation(bus) == "auto":
            real = None
        return replace(node, image=real, beside=(proton,)) if real else replace(node, image=proton)

    def _host(self, node: NodePlan, stacks: Iterable[str]) -> NodePlan:
        """The image of its stack; of several stacks, the first one's, with the others beside it."""
        images = list(dict.fromkeys(self.stacks[name].reference for name in stacks))
        # An image of the user's has no name for its Python that tells it from others: it must come first.
        images.sort(key=lambda image: image not in self.own)
        if len(images) > 1 and images[1] in self.own:
            raise BadInput(
                f"two stacks with images of their own on one host: {images[0]}, {images[1]}",
                where=node.name,
                expected="at most one stack with an `image` per host",
            )
        return replace(node, image=images[0], beside=tuple(images[1:])) if images else node


def _implementation(bus: BusPlan) -> str:
    return str(bus.options.get("implementation", "auto"))


def _why(failure: LabFailure, reference: str) -> str:
    """Why an image could not be had, in a few words."""
    if isinstance(failure, RateLimited):
        return f"the registry gives no more images for now (rate limit), so {reference} could not be had"
    if isinstance(failure, NoRegistry):
        return f"no registry was reached for {reference}"
    return failure.what
