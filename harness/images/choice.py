"""Which images the nodes of a lab run, and how those that are missing come to be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.images.build import Say, build, built_already
from harness.images.recipes import BASE, MADE_BASE, PROGRAMS, PYTHON, tools_recipe
from harness.images.sources import NoRegistry, image_id, make_base, pull, require_image
from harness.plan.cell import LabPlan, NodePlan
from harness.runtime.docker.engine import Engine, engine_errors

__all__ = ["Image", "LabImages", "debian_base", "describe", "ready_images", "tools_image", "tools_there"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image the engine has.

    Attributes:
        reference: its name as asked for.
        id: its identity.
        digests: its names by digest, as registries know it; () for images made here.
        programs: programs that are called by name in it, None for an image somebody else made.
    """

    reference: str
    id: str
    digests: tuple[str, ...]
    programs: tuple[str, ...] | None

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {"image": self.reference, "id": self.id, "digests": list(self.digests)}


@dataclass(frozen=True, slots=True)
class LabImages:
    """The images of a lab's nodes, by reference, and the tools image, which is the gateway's."""

    tools: Image
    by_reference: Mapping[str, Image]
    by_node: Mapping[str, tuple[str, ...]]

    def of(self, node: NodePlan) -> Image:
        """The image a node's first container runs."""
        return self.by_reference[self.by_node[node.name][0]]

    def has_python(self, node: NodePlan) -> bool:
        """Whether one of the node's images is known to have a Python for node-side code."""
        return any(PYTHON in (self.by_reference[one].programs or ()) for one in self.by_node[node.name])

    def own_programs(self, node: NodePlan) -> tuple[str, ...]:
        """The programs that are called by name in the node's first image, as far as that is known."""
        return self.of(node).programs or ()

    def beside(self, node: NodePlan) -> tuple[Image, ...]:
        """Further images whose programs the node needs."""
        return tuple(self.by_reference[reference] for reference in self.by_node[node.name][1:])

    def facts(self) -> dict[str, Any]:
        """What each node runs, pinned by identity and digest, for the record."""
        return {
            "wan": [self.tools.facts()],
            **{
                node: [self.by_reference[reference].facts() for reference in references]
                for node, references in self.by_node.items()
            },
        }


def ready_images(engine: Engine, plan: LabPlan, say: Say | None = None) -> LabImages:
    """The images of a plan's nodes, pulled or built where they are missing.

    Raises NoRegistry, NoSuchImage, LabFailure, StackFailure.
    """
    say = say or (lambda title, line: None)
    tools = tools_image(engine, say)
    by_node = {node.name: (node.image or tools.reference, *node.beside) for node in plan.nodes}
    wanted = dict.fromkeys(reference for references in by_node.values() for reference in references)
    found = {reference: _known(engine, reference, say) for reference in wanted}
    return LabImages(tools, found, by_node)


def _known(engine: Engine, reference: str, say: Say) -> Image:
    require_image(engine, reference, lambda line: say(reference, line))
    return describe(engine, reference)


def describe(engine: Engine, reference: str) -> Image:
    """What the engine knows of an image it has. Raises LabFailure."""
    with engine_errors(f"asking after image {reference}"):
        about = engine.image(reference)
    labels = (about.get("Config") or {}).get("Labels") or {}
    programs = tuple(labels[PROGRAMS].split()) if PROGRAMS in labels else None
    return Image(reference, about["Id"], tuple(about.get("RepoDigests") or ()), programs)


def tools_image(engine: Engine, say: Say) -> Image:
    """The tools image, built if it is missing. Raises LabFailure, MissingCapability, StackFailure."""
    (built,) = build(engine, [tools_recipe(debian_base(engine, say))], say)
    return describe(engine, built.reference)


def tools_there(engine: Engine) -> bool:
    """Whether a lab can be opened without pulling or building: the tools image is on the engine. Raises LabFailure."""
    base = next((reference for reference in (BASE, MADE_BASE) if image_id(engine, reference) is not None), None)
    return base is not None and built_already(engine, tools_recipe(base)) is not None


def debian_base(engine: Engine, say: Say) -> str:
    """The Debian our images are built from: what the engine has, else the public one, else one made from the mirror.

    Raises NoSuchImage, LabFailure, MissingCapability.
    """
    for reference in (BASE, MADE_BASE):
        if image_id(engine, reference) is not None:
            return reference
    try:
        pull(engine, BASE, lambda line: say(BASE, line))
    except NoRegistry:
        make_base(engine, lambda line: say(MADE_BASE, line))
        return MADE_BASE
    return BASE
