"""From type counts, chains of references and allocation sites to sentences that say what leaks. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.analysis.leak import Verdict
from harness.analysis.theilsen import theil_sen
from harness.memory.backlog import LASTING, at_rest, last_round, slope
from harness.memory.result import Attribution, Reading, RoleResult

__all__ = ["Traced", "TypeCounts", "attribute", "confirmed", "growing_types", "telling"]

#: (operations, number of objects by type) at some readings of one process.
TypeCounts = Sequence[tuple[float, Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class Traced:
    """What a process told whose allocations were traced; keys and forms as harness.agent.attribution has them.

    Attributes:
        operations: performed while tracing.
        sites: where what still lives was allocated: {"bytes", "blocks", "frames"}.
        holders: chains of references by type.
        allocated: frames by type, of one object of each.
        grown: containers with more items than before: {"more", "chain"}.
        opened: more descriptors than before, by kind.
    """

    operations: float = 1.0
    sites: Sequence[Mapping[str, Any]] = ()
    holders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    allocated: Mapping[str, Sequence[str]] = field(default_factory=dict)
    grown: Sequence[Mapping[str, Any]] = ()
    opened: Mapping[str, int] = field(default_factory=dict)


#: A type that grows by less per operation than this share of the fastest is not named.
_NAMED = 0.05
_MOST = 12
#: A place that allocates less per operation than this share of what grows is no part of it.
_PART = 0.1
#: A container that gains fewer items than this per operation is not where they are kept.
_KEPT = 0.1
_MADE_OF = ("_thread.", "collections.", "contextlib.", "functools.", "threading.", "weakref.")
_LEFT = {
    "fds": ("descriptor left open", "descriptors left open"),
    "sockets": ("socket left open", "sockets left open"),
    "threads": ("thread left running", "threads left running"),
}
#: Where a path becomes telling: what is before it differs from machine to machine.
_OURS = re.compile(r"/harness/(memory/forked|agent/(client|server|load|agent))\.py:")
_PREFIX = re.compile(r"^.*?/(?=site-packages/|agent\.pyz/|python3\.\d+/(?!site-packages))")


def attribute(
    verdict: Verdict,
    *,
    dose_about: str,
    readings: Sequence[Reading],
    types: TypeCounts,
    traced: Traced,
    rests: Sequence[Reading] = (),
    rested_types: TypeCounts = (),
    untraced: str = "",
) -> Attribution:
    """What leaks.

    Args:
        verdict: the verdict that says leak, without what is gone at rest.
        dose_about: one operation in words.
        readings: of a process given twice the dose.
        types: at each of its readings.
        traced: of a process whose allocations were traced.
        rests: readings of the first process after long rests, before and after its rounds of blocks; () if it had none.
        rested_types: at each of these.
        untraced: why allocations were not traced, "" if they were.
    """
    last = last_round(readings, rests)
    confirmed = {growth.metric: slope(last, growth.metric) for growth in verdict.leaking}
    late = last[len(last) // 2 :]
    lasting = any(
        confirmed[g.metric] >= LASTING * g.per_op and slope(late, g.metric) > g.delta for g in verdict.leaking
    )
    left = {growth.metric: at_rest(rests, growth.metric) for growth in verdict.leaking}
    rested = {metric: figure for metric, figure in left.items() if figure is not None}
    more = growing_types(types, rested_types)
    sites = tuple(
        {
            "bytes_per_op": site["bytes"] / traced.operations,
            "blocks_per_op": site["blocks"] / traced.operations,
            "frames": _told_frames([str(frame) for frame in site["frames"]]),
        }
        for site in traced.sites
    )
    origin = _origin(verdict, sites)
    sentences = _sentences(verdict, origin, dose_about, more, traced, sites)
    if untraced:
        sentences.append(f"where it is allocated and who holds it was not found out: {untraced}")
    return Attribution(
        origin=origin,
        sentences=tuple(sentences),
        types=tuple(more),
        holders={name: list(chains) for name, chains in traced.holders.items()},
        sites=sites,
        confirmed=confirmed,
        lasting=lasting,
        rested=rested or None,
    )


def confirmed(role: RoleResult, finding: Attribution) -> RoleResult:
    """The result of a role that leaks with what was found out about it; what does not last leaves it open."""
    if finding.lasting:
        return replace(role, attribution=finding)
    why = "the growth did not go on when the dose was doubled"
    return replace(role, verdict=replace(role.verdict, state="inconclusive", why=why), attribution=finding)


def growing_types(types: TypeCounts, rested: TypeCounts = ()) -> list[dict[str, Any]]:
    """Types by growth of their number per operation, the fastest first; those that grow by enough to be named.

    A type counts if it grows all along, by the slope through all readings, and is still more at the end.

    Args:
        types: at three readings or more.
        rested: after long rests; then growth is what the last two have left of it, so that a backlog that drains does
            not hide what leaks. () if it had none.
    """
    if len(types) < 3:
        return []
    operations = [at for at, _ in types]
    at_rest = len(rested) >= 2
    ends = rested[-2:] if at_rest else (types[0], types[-1])
    slopes = {}
    for name, number in ends[1][1].items():
        more = number - ends[0][1].get(name, 0)
        trend = theil_sen(operations, [float(counts.get(name, 0)) for _, counts in types]) if more >= 3 else None
        if trend is not None and trend.slope > 0:
            slopes[name] = more / (ends[1][0] - ends[0][0]) if at_rest else trend.slope
    ranked = sorted(slopes.items(), key=lambda item: item[1], reverse=True)
    return [{"type": name, "per_op": slope} for name, slope in ranked[:_MOST] if slope >= _NAMED * ranked[0][1]]


def telling(types: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Growing types, the telling ones first: classes of a library before the locks and deques of the standard library,
    and those before the dicts and lists that all are made of."""
    return sorted(types, key=lambda one: 2 if "." not in one["type"] else int(one["type"].startswith(_MADE_OF)))


def _origin(verdict: Verdict, sites: Sequence[Mapping[str, Any]]) -> str:
    leaking = {growth.metric: growth for growth in verdict.leaking}
    if "blocks" in leaking:
        return "python"
    if "heap" in leaking or "anonymous" in leaking:
        growth = leaking.get("heap") or leaking["anonymous"]
        # Objects above 512 bytes come from malloc as well, but tracing sees them. What is allocated once, here and
        # there, is no part of it, however many such places there are.
        seen = sum(site["bytes_per_op"] for site in sites if site["bytes_per_op"] >= _PART * growth.per_op)
        return "python" if seen >= 0.5 * growth.per_op else "native"
    return "threads" if "threads" in leaking else "descriptors"


def _sentences(
    verdict: Verdict,
    origin: str,
    about: str,
    types: Sequence[Mapping[str, Any]],
    traced: Traced,
    sites: Sequence[Mapping[str, Any]],
) -> list[str]:
    found = []
    if origin == "python" and types:
        told = telling(types)[:4]
        for one in told:
            chains = traced.holders.get(one["type"], ())
            held = f", held by {_held(chains[0])}" if chains and " <- " in chains[0] else ""
            frames = _told_frames([str(frame) for frame in traced.allocated.get(one["type"], ())])
            if not frames and one is told[0] and sites:
                frames = sites[0]["frames"]
            at = f", allocated at {_place(frames)}" if frames else ""
            found.append(f"{_often(one['per_op'])} {one['type']} per operation ({about}){held}{at}")
    elif origin == "python":
        # Such objects are small: of blocks that leak, the site that has most of them is where.
        by = "blocks_per_op" if any(growth.metric == "blocks" for growth in verdict.leaking) else "bytes_per_op"
        site = _place(max(sites, key=lambda one: float(one[by]))["frames"]) if sites else ""
        found.append(
            f"objects the collector does not track (strings, bytes, numbers), allocated at {site or 'unknown'}"
        )
        for one in traced.grown[:2]:
            more = one["more"] / traced.operations
            if more >= _KEPT:
                found.append(f"{_often(more)} item per operation ({about}) kept in {_kept(str(one['chain']))}")
    elif origin == "native":
        growth = next(g for g in verdict.leaking if g.metric in ("heap", "anonymous"))
        blocks = verdict.growths["blocks"].per_op if "blocks" in verdict.growths else 0.0
        found.append(
            f"{growth.per_op:.3g} B per operation ({about}) outside Python's heap, with {max(0.0, blocks):.2g} Python "
            "blocks per operation: native memory of a C library or extension"
        )
    return found + [
        f"{_often(growth.per_op)} {_LEFT[growth.metric][growth.per_op > 1.1]} per operation ({about})"
        + (_kinds(traced) if growth.metric == "fds" else "")
        for growth in verdict.leaking
        if growth.metric in _LEFT
    ]


def _kinds(traced: Traced) -> str:
    """What the descriptors are, the most first."""
    most = sorted(traced.opened.items(), key=lambda one: one[1], reverse=True)
    told = [kind for kind, more in most if more / traced.operations >= _KEPT]
    return f": {', '.join(told)}" if told else ""


def _told_frames(frames: Sequence[str]) -> list[str]:
    """Frames as people read them: without what lies before the library's name, and without the harness's callers."""
    ours = next((at for at, frame in enumerate(frames) if at and _OURS.search(frame)), len(frames))
    return [_PREFIX.sub("", frame) for frame in frames[:ours]]


def _often(per_op: float) -> str:
    return "one" if 0.9 <= per_op <= 1.1 else f"{per_op:.3g}"


def _held(chain: str) -> str:
    """The chain without its first link, the object itself, and as far as the agent: what holds that is ours."""
    links = chain.split(" <- ")[1:]
    ours = next((at for at, link in enumerate(links) if link.startswith("harness.agent.")), len(links))
    return " <- ".join(links[: ours + 1])


def _kept(chain: str) -> str:
    """A container's chain, told from what it is to who holds it."""
    kind, held = chain.partition(" <- ")[0], _held(chain)
    return f"a {kind} held by {held}" if held else f"a {kind}"


def _place(frames: Sequence[str]) -> str:
    if not frames:
        return ""
    # The innermost frame allocates; the first one that is not the standard library's says whose code it is.
    whose = next((frame for frame in frames if "site-packages" in frame), None)
    return frames[0] if whose is None or whose == frames[0] else f"{frames[0]} (called from {whose})"
