"""Growth of the load in reports: points in order, the knee where it is, and nothing where nothing grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.files import load_scenario
from harness.lab.observer import Silent
from harness.lab.run import RunSettings, run_scenario
from harness.report.answer import answer
from harness.report.examine import examine
from harness.report.findings import System
from harness.report.growth import LoadFigures, find_growth, growth_sentences
from harness.report.plots.growth import growth_plots
from harness.report.run_page import run_page
from harness.report.tables import run_tables
from harness.store.run import load_run

KEY = "workloads.call.clients.edge"


def figures(clients: int, throughput: float, p50_ms: float, name: str = "rabbit", **more: Any) -> LoadFigures:
    said: dict[str, Any] = {"point": {KEY: clients}, "cores": {"bus": 0.5}, "servers": 1, **more}
    system = System(name, said.pop("point"), ("rabbitmq",), ("core",), False, ())
    return LoadFigures(
        system=system,
        workload="call",
        pattern="rpc-call",
        clients=clients,
        offered_per_s=throughput,
        throughput_per_s=throughput,
        p50_ms=p50_ms,
        p99_ms=2 * p50_ms,
        failed=0,
        **said,
    )


SATURATING = [figures(2, 20, 10), figures(4, 40, 10), figures(8, 76, 12), figures(16, 80, 100), figures(32, 79, 300)]


def test_the_knee_is_named_with_what_lies_beyond() -> None:
    (growth,) = find_growth(SATURATING[::-1], 2)
    assert (growth.counted, growth.loads, growth.label) == ("clients", (2, 4, 8, 16, 32), "call on rabbit")
    (sentence,) = growth_sentences([growth])
    assert "has its knee at about 8 clients: 76.0 operations/s at a median of 12.0 ms, 95.0 % of growth" in sentence
    assert "at 32 it is 79.0 operations/s at a median of 300 ms." in sentence
    worse = [*SATURATING[:-1], replace(SATURATING[-1], throughput_per_s=60)]
    assert "a median of 300 ms; the most is 80.0 operations/s." in growth_sentences(find_growth(worse, 2))[0]
    assert "machine" not in sentence


def test_a_point_without_a_valid_cell_is_shown_and_says_nothing() -> None:
    late = replace(SATURATING[-1], throughput_per_s=200, system=replace(SATURATING[-1].system, sound=False))
    (growth,) = find_growth([*SATURATING[:-1], late], 2)
    (sentence,) = growth_sentences([growth])
    assert "has its knee at about 8 clients" in sentence
    assert "at 16 it is 80.0 operations/s at a median of 100 ms." in sentence
    assert sentence.endswith(" Left out, for want of a valid cell: 32 clients.")
    assert growth.left_out == (late,)
    unsound = [replace(one, system=late.system) for one in SATURATING]
    assert find_growth(unsound, 2)[0].left_out == (), "where nothing is sound, all of it is told, under its warnings"


def test_a_full_machine_is_said_to_be_the_limit() -> None:
    cores = {"client": 0.9, "server": 0.4, "bus": 0.6}
    busy = [figures(n, x, p50, cores=cores) for n, x, p50 in ((1, 9, 1), (2, 10, 5), (4, 10, 9))]
    (sentence,) = growth_sentences(find_growth(busy, 2))
    assert "use 1.90 of the machine's 2 cores: it is the machine they share that is full" in sentence


def test_a_knee_at_the_least_load_may_lie_below_it() -> None:
    (sentence,) = growth_sentences(find_growth(SATURATING[2:], 2))
    assert "has its knee at or below 8 clients" in sentence


def test_what_does_not_saturate_is_said_not_to() -> None:
    (sentence,) = growth_sentences(find_growth(SATURATING[:3], 2))
    assert sentence.startswith("Call on rabbit has no knee from 2 to 8 clients: the most is 76.0")


def test_what_a_client_more_costs_the_bus_is_told_where_nothing_else_grows() -> None:
    costs = [replace(one, bus_mib=60 + 0.5 * one.clients, bus_sockets=20 + 2 * one.clients) for one in SATURATING]
    (sentence,) = growth_sentences(find_growth(costs, 2))
    assert "each client more the bus owns 0.500 MiB more [0.500, 0.500] and has 2.00 more sockets open" in sentence
    pairs = [replace(one, servers=one.clients) for one in costs]
    assert "each client more, with the servers that come with it, the bus" in growth_sentences(find_growth(pairs, 2))[0]
    beside = [replace(one, workload="cast") for one in costs]
    assert not any("each client more" in text for text in growth_sentences(find_growth([*costs, *beside], 2)))
    assert "each client more" not in growth_sentences(find_growth(SATURATING, 2))[0]


def test_systems_and_other_axes_grow_apart() -> None:
    apart = [
        figures(n, 10 * n, 10, name, point={KEY: n, "links.core-edge.rtt": rtt})
        for name in ("rabbit", "amqp1")
        for rtt in ("0ms", "20ms")
        for n in (1, 2, 4)
    ]
    labels = [growth.label for growth in find_growth(apart, 0)]
    assert labels == [f"call on {name}, rtt {rtt}" for name in ("rabbit", "amqp1") for rtt in ("0ms", "20ms")]


def test_servers_beside_clients_are_an_axis_and_pairs_are_one_load() -> None:
    free = [
        figures(n, 10 * n * servers, 10, servers=servers, point={"clients": n, "servers": servers})
        for n in (1, 2, 4)
        for servers in (1, 2)
    ]
    lines = find_growth(free, 0)
    assert [one.label for one in lines] == ["call on rabbit, servers 1", "call on rabbit, servers 2"]
    assert [one.loads for one in lines] == [(1, 2, 4), (1, 2, 4)]
    pairs = [one for one in free if one.servers == 1]
    together = [replace(one, servers=one.clients) for one in pairs]
    (line,) = find_growth(together, 0)
    assert (line.label, line.loads) == ("call on rabbit", (1, 2, 4))


def test_servers_and_rate_are_loads_too() -> None:
    (servers,) = find_growth([figures(1, 10, 5, servers=n) for n in (1, 2, 4)], 0)
    (rates,) = find_growth([figures(1, x, 5) for x in (10, 20, 40)], 0)
    assert (servers.counted, rates.counted) == ("servers", "operations per second")
    assert find_growth([figures(1, 10, 5), figures(1, 10, 6)], 0) == ()


def test_a_swept_run_has_its_growth_in_answer_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "scenario.yaml"
    agents = {"clients": {"here": 1}, "servers": {"here": 2}, "processes": "fork"}
    scenario = {
        "name": "growing",
        "topology": {"name": "one", "sites": ["here"]},
        "systems": {"loopback": {"bus": {"kind": "loopback"}, "stack": "loopback"}},
        "workloads": {
            "call": {"pattern": "rpc-call", "mode": "closed", "pause": "20ms", **agents},
            "tell": {"pattern": "rpc-fanout", "rate": "10/s", **agents},
        },
        "sweep": {"workloads.call.clients.here": [1, 2, 4]},
        "load": {"warmup": 0, "duration": "1s", "drain": "5s"},
    }
    path.write_text(yaml.safe_dump(scenario))
    settings = RunSettings(results=tmp_path / "results", runtime="fake")
    findings = examine(load_run(run_scenario(load_scenario(path), settings, Silent())))
    (growth,) = findings.growth
    assert list(growth.loads) == [1, 2, 4]
    assert all(point.throughput_per_s > 10 * point.clients for point in growth.points)
    fanouts = findings.fanouts
    assert [(one.servers, one.messages, one.complete, sum(one.copies)) for one in fanouts] == [(2, 10, 10, 20)] * 3
    tables = {table.id: table for table in run_tables(findings)}
    assert len(tables["growth"].rows) == 3
    assert len(tables["fanouts"].rows) == 3
    (plot,) = growth_plots(findings)
    assert "call on loopback" in plot.description
    page = run_page(findings)
    assert "Growth of the load" in page
    assert "Last receiver" in page
    assert any("clients" in sentence and "all on loopback" in sentence for sentence in answer(findings).sentences)
