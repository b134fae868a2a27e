"""What a run needs before its first lab: every stack, where the runtime's nodes find it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.bus.registry import helper_stacks
from harness.images.provide import Provided, provide_images
from harness.model.stack import StackSpec
from harness.plan.cell import CellPlan
from harness.runtime.docker.engine import connect
from harness.stack.build import build_stacks

__all__ = ["Provided", "provide"]


def provide(
    runtime: str,
    stacks: Mapping[str, StackSpec],
    cells: Sequence[CellPlan],
    say: Callable[[str, str], None],
) -> Provided:
    """Build the stacks of the cells' agents and buses: images for the docker runtime, virtual environments elsewhere.

    Args:
        stacks: every stack that may be named.
        say: called with (what is made, line), from several threads.

    Raises StackFailure, LabFailure, MissingCapability.
    """
    names = dict.fromkeys(name for cell in cells for name in cell.stacks)
    names |= dict.fromkeys(name for cell in cells for bus in cell.buses for name in helper_stacks(bus.kind))
    say("", f"building stacks: {', '.join(names)}")
    specs = [stacks[name] for name in names]
    if runtime != "docker":
        return Provided(build_stacks(specs, progress=say), tuple(cells))
    engine = connect()
    try:
        return provide_images(engine, specs, cells, say)
    finally:
        engine.close()
