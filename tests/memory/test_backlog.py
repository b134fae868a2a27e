"""Growth that drains at rest is a backlog, bounded by a time-out: no leak, and no reason to leave a verdict open."""

from __future__ import annotations

from typing import Any

from harness.analysis.leak import Series, conclude
from harness.memory.attribution import Traced, attribute, confirmed, growing_types
from harness.memory.backlog import another_round, growing, without_backlog
from harness.memory.result import RoleResult

LIMITS = {"blocks": 0.1, "fds": 0.001}
BLOCKS = tuple(float(block * 200) for block in range(13))


def role(*slopes: float) -> RoleResult:
    """A client whose allocated blocks grow by so much per operation in each process; its descriptors stay."""
    readings = {
        "blocks": [Series(BLOCKS, tuple(1000 + slope * at for at in BLOCKS)) for slope in slopes],
        "fds": [Series(BLOCKS, (9.0,) * len(BLOCKS)) for _ in slopes],
    }
    return RoleResult("client", conclude(readings, LIMITS), {})


def rests(per_op: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Readings after a rest before and after 4,800 operations."""
    return {"operations": 1600, "blocks": 5000, "fds": 9}, {
        "operations": 6400,
        "blocks": 5000 + 4800 * per_op,
        "fds": 9,
    }


UNEVEN = role(0.2, 1.4, 2.6)


def test_uneven_growth_is_suspected_and_small_noise_is_not() -> None:
    assert [growth.metric for growth in growing(UNEVEN)] == ["blocks"]
    assert not growing(role(1.0, 1.01, 1.02)), "that is a leak, not open"
    assert not growing(role(0.0, 0.01, 0.2)), "open, but less than the limit"


def test_what_drains_is_clean() -> None:
    result = without_backlog(UNEVEN, rests(0.001))
    assert result.verdict.state == "clean"
    assert result.verdict.growths["blocks"].state == "clean"
    assert "0.001 per operation of it is left" in result.verdict.why


def test_noise_about_the_limit_is_settled_by_rests_that_are_there() -> None:
    noisy = role(-0.3, 0.02, 0.3)
    assert noisy.verdict.state == "inconclusive"
    assert not growing(noisy), "no reason of its own to rest"
    assert without_backlog(noisy, rests(0.004)).verdict.state == "clean"
    assert without_backlog(noisy, rests(0.11)).verdict.state == "inconclusive", "more than the limit stays"


def test_what_stays_leaves_the_verdict_open() -> None:
    assert without_backlog(UNEVEN, rests(1.3)).verdict.state == "inconclusive"
    assert without_backlog(UNEVEN, rests(0.2)).verdict.state == "inconclusive", "more than the limit stays"


def test_a_leak_of_just_the_limit_is_no_backlog() -> None:
    at_limit = role(0.098, 0.101, 0.104)
    assert at_limit.verdict.state == "inconclusive"
    assert without_backlog(at_limit, rests(0.0999)).verdict.state == "inconclusive", (
        "most of it stays, though under the limit"
    )


def test_what_could_not_be_read_is_not_called_a_backlog() -> None:
    lacking = [Series(BLOCKS, (None, *[9.0] * 12)), *[Series(BLOCKS, (9.0,) * 13)] * 2]
    growing_blocks = [Series(BLOCKS, tuple(1000 + slope * at for at in BLOCKS)) for slope in (0.2, 1.4, 2.6)]
    half_read = RoleResult("client", conclude({"blocks": growing_blocks, "fds": lacking}, LIMITS), {})
    result = without_backlog(half_read, rests(0.001))
    assert result.verdict.growths["fds"].state == "inconclusive"
    assert result.verdict.state == "inconclusive"


def test_without_rests_nothing_changes() -> None:
    assert without_backlog(UNEVEN, ()) is UNEVEN


def test_a_leak_stays_at_rest() -> None:
    leaking = role(2.0, 2.01, 2.02)
    assert leaking.verdict.state == "leak"
    assert without_backlog(leaking, rests(2.0)) is leaking
    assert without_backlog(leaking, rests(0.01)).verdict.state == "clean"


def torn(blocks: float, heap: float, *rounds: tuple[float, float]) -> tuple[RoleResult, list[dict[str, Any]]]:
    """A client whose blocks and heap grow while it works, and rests with what each round of 2,400 has left of both."""
    slopes = {"blocks": blocks, "heap": heap}
    readings = {
        metric: [Series(BLOCKS, tuple(1e6 + per_op * factor * at for at in BLOCKS)) for factor in (1.0, 1.01, 1.02)]
        for metric, per_op in slopes.items()
    }
    at_rest = [{"operations": 0.0, "blocks": 5000.0, "heap": 1e6}]
    for more_blocks, more_heap in rounds:
        before = at_rest[-1]
        at_rest.append(
            {
                "operations": before["operations"] + 2400,
                "blocks": before["blocks"] + 2400 * more_blocks,
                "heap": before["heap"] + 2400 * more_heap,
            }
        )
    return RoleResult("client", conclude(readings, {"blocks": 0.1, "heap": 32.0}), {}), at_rest


def test_native_memory_alone_left_at_rest_is_asked_again() -> None:
    for left, again in (((0.001, 500.0), True), ((9.0, 500.0), False), ((0.001, 1.0), False)):
        assert another_round(*torn(19.0, 2500.0, left)) is again


def test_what_a_backlog_has_torn_the_heap_into_is_no_leak() -> None:
    leaking, once = torn(19.0, 2500.0, (0.001, 500.0))
    left = without_backlog(leaking, once).verdict
    assert (left.state, left.why) == ("leak", f"heap: {leaking.verdict.growths['heap'].why}"), "one rest cannot tell"
    assert left.growths["blocks"].state == "clean"
    again = without_backlog(*torn(19.0, 2500.0, (0.001, 500.0), (0.0, 2.0))).verdict
    assert again.state == "clean"
    assert "after another round 2 per operation of it is left" in again.growths["heap"].why


def test_native_memory_that_leaks_goes_on_in_another_round() -> None:
    leaking, rested = torn(0.0, 500.0, (0.0, 500.0), (0.0, 499.0))
    assert another_round(leaking, rested[:2])
    assert without_backlog(leaking, rested) is leaking


def test_a_leak_lasts_if_the_last_round_shows_it() -> None:
    leaking, rested = torn(2.0, 100.0, (2.0, 100.0), (0.5, 10.0))
    readings = [
        {"operations": at, "blocks": 2.0 * min(at, 2400.0) + 0.5 * max(0.0, at - 2400.0), "heap": 1e6}
        for at in (*BLOCKS, *(2400.0 + at for at in BLOCKS))
    ]
    finding = attribute(
        leaking.verdict,
        dose_about="a call",
        readings=readings,
        types=(),
        traced=Traced(),
        rests=rested,
    )
    assert finding.confirmed["blocks"] == 0.5
    assert finding.rested == {"blocks": 0.5, "heap": 10.0}
    assert confirmed(leaking, finding).verdict.state == "inconclusive"


def found(traced: Traced, types: list[tuple[float, dict[str, int]]], metric: str = "blocks") -> list[str]:
    """The sentences on a client that leaks one of them per operation."""
    series = [Series(BLOCKS, tuple(1000 + at for at in BLOCKS)) for _ in range(3)]
    verdict = conclude({metric: series}, {metric: 0.1})
    readings = [{"operations": at, metric: 1000 + at} for at in BLOCKS]
    finding = attribute(verdict, dose_about="a call", readings=readings, types=types, traced=traced)
    assert finding.lasting
    return list(finding.sentences)


def test_each_type_is_told_with_who_holds_it_and_where_it_was_allocated() -> None:
    types = [(at, {"a.Leaky": int(at), "weakref.ReferenceType": int(3 * at)}) for at in BLOCKS]
    traced = Traced(
        operations=100.0,
        sites=[{"bytes": 1e6, "blocks": 100, "frames": ["/x/site-packages/b.py:7"]}],
        holders={"a.Leaky": ["a.Leaky <- a list of 9 <- module a.KEPT"]},
        allocated={"a.Leaky": ["/x/site-packages/a.py:3"], "weakref.ReferenceType": ["/y/python3.11/weakref.py:5"]},
    )
    assert found(traced, types) == [
        "one a.Leaky per operation (a call), held by a list of 9 <- module a.KEPT, allocated at site-packages/a.py:3",
        "3 weakref.ReferenceType per operation (a call), allocated at python3.11/weakref.py:5",
    ]


def test_of_objects_the_collector_does_not_track_the_container_is_told() -> None:
    traced = Traced(
        operations=100.0,
        sites=[
            {"bytes": 4096, "blocks": 1, "frames": ["/x/site-packages/k/common.py:137"]},
            {"bytes": 3200, "blocks": 100, "frames": ["/x/site-packages/k/common.py:122"]},
        ],
        grown=[
            {
                "more": 100,
                "chain": "set <- k.C.declared <- harness.agent.adapters.k.S._it <- harness.agent.client.C._s",
            },
            {"more": 4, "chain": "dict"},
        ],
    )
    assert found(traced, []) == [
        "objects the collector does not track (strings, bytes, numbers), allocated at site-packages/k/common.py:122",
        "one item per operation (a call) kept in a set held by k.C.declared <- harness.agent.adapters.k.S._it",
    ]


def test_what_is_allocated_once_here_and_there_is_not_what_grows() -> None:
    once = [{"bytes": 6, "blocks": 1, "frames": [f"/x/site-packages/k/common.py:{line}"]} for line in range(20)]
    (told,) = found(Traced(operations=100.0, sites=once), [], "heap")
    assert "native memory" in told
    large = {"bytes": 90, "blocks": 100, "frames": ["/x/site-packages/k/large.py:1"]}
    (told,) = found(Traced(operations=100.0, sites=[*once, large]), [], "heap")
    assert told.endswith("allocated at site-packages/k/large.py:1")


def test_of_descriptors_the_kind_is_told() -> None:
    traced = Traced(operations=100.0, opened={"/var/log/x": 1, "pipe": 200})
    assert found(traced, [], "fds") == ["one descriptor left open per operation (a call): pipe"]


def test_growth_that_ends_while_the_dose_is_doubled_is_left_open() -> None:
    leaking = role(2.0, 2.0, 2.1)
    ending = [{"operations": at, "blocks": 2.0 * min(at, 1400.0)} for at in BLOCKS]
    finding = attribute(leaking.verdict, dose_about="a call", readings=ending, types=(), traced=Traced())
    assert finding.confirmed["blocks"] > 1.0
    assert not finding.lasting


def counted(leaky: float, backlog: float, until: float = 1600.0) -> list[tuple[float, dict[str, int]]]:
    """Objects by type while a client works: one type that leaks, one that is held up to a time-out."""
    return [(at, {"Leaky": int(leaky * at), "Waiting": int(backlog * min(at, until)), "Config": 7}) for at in BLOCKS]


def test_types_that_grow_are_named_by_how_fast() -> None:
    assert growing_types(counted(1.0, 3.0, until=9e9)) == [
        {"type": "Waiting", "per_op": 3.0},
        {"type": "Leaky", "per_op": 1.0},
    ]


def test_what_drains_at_rest_does_not_hide_what_leaks() -> None:
    rested = [(0.0, {"Leaky": 0, "Config": 7}), (2400.0, {"Leaky": 2400, "Config": 7})]
    assert growing_types(counted(1.0, 3.0, until=9e9), rested) == [{"type": "Leaky", "per_op": 1.0}]
    again = [*rested, (4800.0, {"Leaky": 2400 + 1200, "Config": 7})]
    assert growing_types(counted(1.0, 3.0, until=9e9), again) == [{"type": "Leaky", "per_op": 0.5}]


def test_what_came_once_is_not_growth() -> None:
    once = [(at, {"Cache": 0 if at < 2000 else 50}) for at in BLOCKS]
    assert growing_types(once) == []
    assert growing_types(once, [(0.0, {"Cache": 0}), (2400.0, {"Cache": 50})]) == []
