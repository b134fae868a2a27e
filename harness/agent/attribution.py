"""Who leaks: what the collector counts, who refers to it, and where it was allocated. Inside the agent's process.

Used in a run of its own after a leak was found: tracing costs memory and time, and would spoil a verdict.
"""

from __future__ import annotations

import collections
import ctypes
import gc
import os
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.agent.proc import descriptor_kinds

__all__ = ["count_types", "origins", "start_tracing", "trace_growth"]

#: Frames kept per allocation: enough to see the client's own code under a library's.
_FRAMES = 16
#: How far a chain of referrers is followed, and how many objects of a type are asked.
_DEPTH = 12
_SAMPLES = 3

#: What collects things and can grow for ever, and by how many items it must have grown to be told of.
_LENGTHS: tuple[tuple[type, Callable[[Any], int]], ...] = (
    (dict, dict.__len__),
    (set, set.__len__),
    (list, list.__len__),
    (collections.deque, collections.deque.__len__),
)
_CONTAINERS = tuple(kind for kind, _ in _LENGTHS)
_GREW = 3
#: Number of items of every container when tracing began, by identity.
_sizes: dict[int, int] = {}
#: Open descriptors by kind when tracing began.
_open: dict[str, int] = {}

# CPython 3.11 looks for the traceback of an object that has a managed dictionary where the object begins, not where its
# memory does, and so never finds one; asked for by address, it is there. 3.12 finds it.
_TRACEBACK: Any = getattr(ctypes.pythonapi, "_PyTraceMalloc_GetTraceback", None)
_MANAGED_DICT = 1 << 4 if sys.version_info[:2] == (3, 11) and _TRACEBACK is not None else 0
#: Bytes before such an object: its dictionary and values, and the collector's two words.
_HEADERS = 4 * ctypes.sizeof(ctypes.c_void_p)
if _MANAGED_DICT:
    _TRACEBACK.restype = ctypes.py_object
    _TRACEBACK.argtypes = [ctypes.c_uint, ctypes.c_size_t]

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
    """Begin to record where memory is allocated, and note how large every container is and what descriptors are open;
    once begun, do nothing."""
    if tracemalloc.is_tracing():
        return
    _sizes.clear()
    _sizes.update({id(item): _length(item) for item in gc.get_objects() if isinstance(item, _CONTAINERS)})
    _open.clear()
    _open.update(descriptor_kinds(os.getpid()))
    tracemalloc.start(_FRAMES)


def trace_growth(before: tracemalloc.Snapshot | None, limit: int = 12) -> tuple[tracemalloc.Snapshot, list[Any]]:
    """A snapshot, and what was allocated since the one before and still lives, the largest growth first: so many sites
    by bytes, and as many by blocks.

    Each is {"bytes", "blocks", "frames": ["file:line", ...] innermost first}.
    """
    gc.collect()
    filters = [tracemalloc.Filter(False, name, all_frames=True) for name in _OUR_OWN]
    snapshot = tracemalloc.take_snapshot().filter_traces(filters)
    if before is None:
        return snapshot, []
    differences = [item for item in snapshot.compare_to(before, "traceback") if item.count_diff > 0]
    by_bytes = sorted(differences, key=lambda item: item.size_diff, reverse=True)
    most = {id(item) for item in sorted(differences, key=lambda item: item.count_diff, reverse=True)[:limit]}
    sites = [
        {"bytes": item.size_diff, "blocks": item.count_diff, "frames": _frames(item.traceback)}
        for rank, item in enumerate(by_bytes)
        if rank < limit or id(item) in most
    ]
    return snapshot, sites


def _frames(traceback: tracemalloc.Traceback) -> list[str]:
    """Innermost first."""
    return [f"{frame.filename}:{frame.lineno}" for frame in reversed(traceback)]


def origins(names: list[str]) -> dict[str, Any]:
    """Where objects of these types come from, and what has grown.

    Keys: holders (by type, the chains of references that keep some of its objects alive, e.g. "queue.Queue <-
    pool.Pool._idle <- driver.Driver._pool <- module driver.DRIVERS"; equal chains once), allocated (frames, innermost
    first, by type, of one that was allocated since tracing began), grown (containers that have more items than when
    tracing began, the most first: {"more": items, "chain": who holds it}), opened (by kind, how many more descriptors
    are open than when tracing began).
    """
    with _no_collection():
        told = {"holders": _holders(names), "allocated": _allocated(names), "grown": _grown()}
    kinds = descriptor_kinds(os.getpid())
    told["opened"] = {kind: more for kind, count in kinds.items() if (more := count - _open.get(kind, 0)) > 0}
    return told


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect, then not again until the end: what a collection finalizes could change what is being asked about.

    Finalizers of a collection that another thread had begun may still run meanwhile; that does no harm but to the
    numbers of items told.
    """
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
        every = _of_type(name)
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


def _of_type(name: str) -> list[Any]:
    """Objects of a type; where allocations are traced only those made since then, if there are any: what leaks is
    among them, and not what was there before."""
    every = [item for item in gc.get_objects() if _type_name(type(item)) == name]
    if not tracemalloc.is_tracing():
        return every
    return [item for item in every if _made_at(item)] or every


def _allocated(names: list[str]) -> dict[str, list[str]]:
    found = {name: next(filter(None, map(_made_at, reversed(_of_type(name)))), []) for name in names}
    return {name: frames for name, frames in found.items() if frames}


def _made_at(item: Any) -> list[str]:
    """Where an object was allocated, innermost frame first; [] if that was before tracing began."""
    traceback = tracemalloc.get_object_traceback(item)
    if traceback is not None:
        return _frames(traceback)
    if _MANAGED_DICT and type(item).__flags__ & _MANAGED_DICT:
        return [f"{name}:{line}" for name, line in _TRACEBACK(0, id(item) - _HEADERS) or ()]
    return []


def _length(item: Any) -> int:
    """Number of items, whatever a subclass says."""
    return next((length(item) for kind, length in _LENGTHS if isinstance(item, kind)), 0)


def _grown() -> list[dict[str, Any]]:
    grown = []
    for item in gc.get_objects():
        if isinstance(item, _CONTAINERS) and item is not _sizes and id(item) in _sizes:
            more = _length(item) - _sizes[id(item)]
            if more >= _GREW:
                grown.append((more, item))
    grown.sort(key=lambda one: one[0], reverse=True)
    most = grown[:_SAMPLES]
    ours = {id(grown), id(most), *map(id, grown)}
    return [{"more": more, "chain": _chain(item, ours)} for more, item in most]


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
    step: tuple[str, Any, bool] | None
    for _ in range(_DEPTH):
        step = _holder(here, seen)
        if step is None:
            break
        label, here, final = step
        step = None  # it refers to `here`, and would be taken for its holder
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
