"""Who leaks: what the collector counts, who refers to it, and where it was allocated. Inside the agent's process.

Used in a run of its own after a leak was found: tracing costs memory and time, and would spoil a verdict.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["count_types", "holders", "start_tracing", "trace_growth"]

#: Frames kept per allocation: enough to see the client's own code under a library's.
_FRAMES = 16
#: How far a chain of referrers is followed, and how many objects of a type are asked.
_DEPTH = 12
_SAMPLES = 3

_OUR_OWN = (__file__, tracemalloc.__file__)


def count_types() -> dict[str, int]:
    """Collector-tracked objects by type, "module.Class"."""
    counts: dict[type, int] = {}
    for item in gc.get_objects():
        kind = type(item)
        counts[kind] = counts.get(kind, 0) + 1
    named: dict[str, int] = {}
    for kind, count in counts.items():
        name = _type_name(kind)
        named[name] = named.get(name, 0) + count
    return named


def start_tracing() -> None:
    """Begin to record where memory is allocated."""
    if not tracemalloc.is_tracing():
        tracemalloc.start(_FRAMES)


def trace_growth(before: tracemalloc.Snapshot | None, limit: int = 12) -> tuple[tracemalloc.Snapshot, list[Any]]:
    """A snapshot, and what was allocated since the one before and still lives, the largest growth first.

    Each is {"bytes", "blocks", "frames": ["file:line", ...] innermost first}.
    """
    gc.collect()
    filters = [tracemalloc.Filter(False, name, all_frames=True) for name in _OUR_OWN]
    snapshot = tracemalloc.take_snapshot().filter_traces(filters)
    if before is None:
        return snapshot, []
    differences = [item for item in snapshot.compare_to(before, "traceback") if item.count_diff > 0]
    differences.sort(key=lambda item: item.size_diff, reverse=True)
    sites = [
        {
            "bytes": item.size_diff,
            "blocks": item.count_diff,
            "frames": [f"{frame.filename}:{frame.lineno}" for frame in reversed(item.traceback)],
        }
        for item in differences[:limit]
    ]
    return snapshot, sites


def holders(names: list[str]) -> dict[str, list[str]]:
    """For each type, the chains of references that keep some of its objects alive, e.g.
    "queue.Queue <- pool.Pool._idle <- driver.Driver._pool <- module driver.DRIVERS"; equal chains once."""
    with _no_collection():
        return _holders(names)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect, then not again until the end: what a collection finalizes could change a dictionary being copied."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _holders(names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        every = [item for item in gc.get_objects() if _type_name(type(item)) == name]
        # Where objects hold each other in a chain, its head is the one that somebody else holds.
        held = {id(item) for item in gc.get_referents(*every)}
        heads = [item for item in every if id(item) not in held] or every
        sample = heads[-_SAMPLES:]
        del every, heads
        chains: list[str] = []
        for item in sample:
            chain = _chain(item, {id(sample)})
            if chain not in chains:
                chains.append(chain)
        found[name] = chains
        del sample
    return found


def _type_name(kind: type) -> str:
    module = getattr(kind, "__module__", None)
    name = getattr(kind, "__qualname__", kind.__name__)
    return name if module in ("builtins", None) else f"{module}.{name}"


def _chain(item: Any, ours: set[int]) -> str:
    """One chain of references upwards from an object, as far as a module, a frame, or the depth allowed.

    `ours` are ids of objects that refer to it only because it is being asked about.
    """
    parts = [_type_name(type(item))]
    seen = {id(item), *ours}
    here = item
    for _ in range(_DEPTH):
        step = _holder(here, seen)
        if step is None:
            break
        label, here, final = step
        if label != parts[-1]:
            parts.append(label)
        if final:
            break
    return " <- ".join(parts)


def _holder(item: Any, seen: set[int]) -> tuple[str, Any, bool] | None:
    """The most telling referrer of an object: (how it refers, the referrer, whether the chain ends there)."""
    referrers = [other for other in gc.get_referrers(item) if id(other) not in seen and not _internal(other)]
    seen.add(id(referrers))
    ranked = sorted(referrers, key=_telling)
    for other in ranked:
        seen.add(id(other))
        if isinstance(other, types.FrameType):
            code = other.f_code
            return f"a frame of {code.co_name} ({code.co_filename}:{other.f_lineno})", other, True
        if isinstance(other, types.ModuleType):
            return f"module {other.__name__}", other, True
        if isinstance(other, dict):
            return _of_dict(item, other, seen)
        if isinstance(other, (list, tuple, set, frozenset)):
            return f"a {type(other).__name__} of {len(other)}", other, False
        if isinstance(other, types.CellType):
            return "a closure", other, False
        if isinstance(other, types.FunctionType):
            return f"function {other.__module__}.{other.__qualname__}", other, False
        if isinstance(other, type):
            return f"class {_type_name(other)}", other, True
        return f"{_type_name(type(other))}{_attribute(other, item)}", other, False
    return None


def _of_dict(item: Any, holder: dict[Any, Any], seen: set[int]) -> tuple[str, Any, bool]:
    key = next((key for key, value in list(holder.items()) if value is item), None)
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", None) is holder:
            return f"module {module.__name__}.{key}", module, True
    for owner in gc.get_referrers(holder):
        if isinstance(owner, type) and isinstance(key, str) and vars(owner).get(key) is item:
            return f"class {_type_name(owner)}.{key}", owner, True
        if id(owner) not in seen and not isinstance(owner, (dict, list, tuple)) and _own_dict(owner) is holder:
            seen.add(id(owner))
            if isinstance(owner, type):
                return f"class {_type_name(owner)}.{key}", owner, True
            return f"{_type_name(type(owner))}.{key}", owner, False
    return f"a dict of {len(holder)}", holder, False


def _own_dict(owner: Any) -> Any:
    try:
        return object.__getattribute__(owner, "__dict__")
    except AttributeError:
        return None


def _attribute(owner: Any, item: Any) -> str:
    """The attribute by which an object without a visible dict refers to another."""
    names = list(_own_dict(owner) or ())
    for kind in type(owner).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    for name in names:
        try:
            if object.__getattribute__(owner, name) is item:
                return f".{name}"
        except AttributeError:  # noqa: PERF203
            continue
    return ""


def _internal(item: Any) -> bool:
    """Whether a referrer is of our own asking: this module's frames and lists."""
    return isinstance(item, types.FrameType) and item.f_code.co_filename == __file__


def _telling(item: Any) -> int:
    """Ranks referrers: what names the holder comes before containers, containers before frames."""
    if isinstance(item, dict):
        return 0
    if isinstance(item, (list, tuple, set, frozenset, types.CellType)):
        return 1
    if isinstance(item, types.FrameType):
        return 3
    return 0 if not isinstance(item, (types.FunctionType, types.MethodType)) else 2
