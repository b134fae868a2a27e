"""Whatever is wrong with a scenario or topology file: one located finding, never a traceback."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BadFile, BadInput
from harness.files import load_scenario, plan_run

TOPOLOGY = """\
name: three
sites: [core, edge-a, edge-b]
links:
  core-edge-a: {between: [core, edge-a], rtt: 20ms}
  core-edge-b: {between: [core, edge-b], rtt: 80ms}
  edge-a-edge-b: {between: [edge-a, edge-b], rtt: 100ms}
"""
SCENARIO = """\
name: small
topology: topology.yaml
systems:
  rabbitmq:
    bus: {kind: rabbitmq, at: core}
    stack: oslo-14.7.3-rabbit
  amqp1:
    bus: {kind: router, at: [core, edge-a, edge-b], graph: mesh}
    stack: oslo-14.7.3-amqp1
workloads:
  call:
    pattern: rpc-call
    clients: {edge-a: 1}
    servers: {core: 1}
    rate: 10/s
    payload: 1KiB
load: {warmup: 1s, duration: 5s}
"""


def plan(directory: Path, scenario: str = SCENARIO, topology: str = TOPOLOGY) -> None:
    (directory / "topology.yaml").write_text(topology)
    (directory / "scenario.yaml").write_text(scenario)
    plan_run(load_scenario(directory / "scenario.yaml"))


def test_the_unchanged_files_are_good(tmp_path: Path) -> None:
    plan(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says", "suggests"),
    [
        ("payload:", "paylod:", 16, "workloads.call.paylod", "unknown key", "payload"),
        ("10/s", "10", 15, "workloads.call.rate", "no unit", None),
        ("10/s", "0/s", 15, "workloads.call.rate", "above 0", None),
        ("rpc-call", "rpc-cal", 12, "workloads.call.pattern", "not known here", "rpc-call"),
        ("{edge-a: 1}", "{egde-a: 1}", 13, "workloads.call.clients.egde-a", "no site 'egde-a'", "edge-a"),
        ("servers: {core: 1}", "servers: {}", 14, "workloads.call.servers", "", None),
        ("    servers: {core: 1}\n", "", 11, "workloads.call.servers", "missing", None),
        ("at: core}", "at: cor}", 5, "systems.rabbitmq.bus.at.cor", "no site 'cor'", "core"),
        ("kind: rabbitmq", "kind: rabbit", 5, "systems.rabbitmq.bus.kind", "no kind", "rabbitmq"),
        ("14.7.3-rabbit", "14.7.3-amqp1", 6, "systems.rabbitmq.stack", "speaks amqp1", None),
        ("14.7.3-rabbit", "14.7.3-rabbi", 6, "systems.rabbitmq.stack", "no stack", "oslo-14.7.3-rabbit"),
        ("topology.yaml", "topologi.yaml", 2, "topology", "no file", "topology.yaml"),
        ("topology.yaml", "x" * 300, 2, "topology", "no file", None),
        ("10/s", "1e308/s", 15, "workloads.call.rate", "too large", None),
        ("10/s", "200000/s", 15, "workloads.call.rate", "too large", None),
        ("1KiB", "1e308GiB", 16, "workloads.call.payload", "finite", None),
        ("kind: rabbitmq, ", "", 5, "systems.rabbitmq.bus.kind", "missing", None),
        ("at: core}", "at: []}", 5, "systems.rabbitmq.bus.at", "empty", None),
        ("at: core}", "at: core, cpus: .inf}", 5, "systems.rabbitmq.bus.cpus", "does not fit", None),
        (
            "at: core}",
            'at: core, config: {"a\\nb": 1}}',
            5,
            r"systems.rabbitmq.bus.config.'a\nb'",
            "cannot be a key",
            None,
        ),
        ("10/s", "10/s\n    arrivals: poison", 16, "workloads.call.arrivals", "not known here", "poisson"),
        (
            "10/s",
            "10/s\n    options: {oslo_messaging_rabit: {a: 1}}",
            16,
            "workloads.call.options.oslo_messaging_rabit",
            "no group",
            "oslo_messaging_rabbit",
        ),
        (
            "rate: 10/s",
            "schedule: {burst: {size: 100000, every: 1us}}",
            15,
            "workloads.call.schedule.burst.every",
            "more than a client can begin",
            None,
        ),
        ("10/s", "10/s\n    timeout: 1e9s", 16, "workloads.call.timeout", "too large", None),
        ("5s}", "5s, drain: 1e308h}", 17, "load.drain", "finite", None),
        ("load: {", "repetitions: true\nload: {", 17, "repetitions", "does not fit", None),
        ("load: {", 'scale: "3"\nload: {', 17, "scale", "does not fit", None),
        ("load: {", "stacks: {x: {name: y}}\nload: {", 17, "stacks.x.name", "calls itself 'y'", None),
        ("load: {", "stacks: {x: {env: {A=B: c}}}\nload: {", 17, "stacks.x.env.A=B", "cannot name", None),
        ("load: {", "memory: {doses: [call], limits: {heap: .inf}}\nload: {", 17, "memory.limits.heap", "fit", None),
        ("load: {", "memory: {doses: {call: true}}\nload: {", 17, "memory.doses.call", "does not fit", None),
        (
            "load: {",
            "repetitions: 1000\nsweep: {rate: [1/s, 2/s, 3/s, 4/s, 5/s, 6/s]}\nload: {",
            17,
            "repetitions",
            "12000 cells",
            None,
        ),
        ("load: {", "sweep: {clients: [{nosuch: 1}]}\nload: {", 17, "sweep", "point clients", None),
        (
            "load: {",
            "timeline: [{at: 1s, link: all, source: core, partition: true}]\nload: {",
            17,
            "timeline.0.source",
            "unknown key",
            None,
        ),
        ("graph: mesh", "graph: [[core, edge-a]]", 8, "systems.amqp1.bus.graph", "does not reach", None),
        ("5s}", "5s, warmup: 2s}", 17, "load.warmup", "twice", None),
        ("duration: 5s", "duration: 0s", 17, "load.duration", "last some time", None),
        ("1KiB", "1KiB\n    targets: per-site", 13, "workloads.call.clients.edge-a", "no server to call", None),
        ("1KiB", "1KiB\n    bus: rpc", 17, "workloads.call.bus", "no bus", None),
        ("load: {", "scale: 0.5\nload: {", 17, "scale", "would make parts of agents", None),
        (
            "load: {",
            "sweep: {links.core-egde-a.rtt: [0]}\nload: {",
            17,
            "sweep.links.core-egde-a.rtt",
            "nowhere",
            "core-edge-a",
        ),
    ],
)
def test_a_fault_in_a_scenario_is_located(
    tmp_path: Path, old: str, new: str, line: int, key: str, says: str, suggests: str | None
) -> None:
    assert SCENARIO.count(old) >= 1
    with pytest.raises(BadFile) as caught:
        plan(tmp_path, SCENARIO.replace(old, new, 1))
    finding = caught.value.findings[0]
    assert (finding.line, finding.key, finding.suggestion) == (line, key, suggests)
    assert finding.file.endswith("scenario.yaml")
    assert says in finding.what


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says", "suggests"),
    [
        ("rtt: 20ms", "rt: 20ms", 4, "links.core-edge-a.rt", "unknown key", "rtt"),
        ("rtt: 20ms", "link_class: lte", 4, "links.core-edge-a.link_class", "unknown key", "class"),
        ("rtt: 20ms", "rtt: 20msec", 4, "links.core-edge-a.rtt", "unknown unit", "20ms"),
        ("rtt: 20ms", "rtt: 20ms, rate: 1e308gbit", 4, "links.core-edge-a.rate", "finite", None),
        ("edge-b]\nlinks", "edge-b, edge-b]\nlinks", 2, "sites.3", "named twice", None),
        ("rtt: 20ms", "rtt: 20", 4, "links.core-edge-a.rtt", "no unit", None),
        ("[core, edge-a], ", "[core, edge-c], ", 4, "links.core-edge-a.between.1", "no site", "edge-a"),
        ("[core, edge-a], ", "[core, core], ", 4, "links.core-edge-a.between", "itself", None),
        ("[core, edge-b], ", "[edge-a, core], ", 5, "links.core-edge-b", "already described", None),
        ("name: three\n", "", 1, "name", "missing", None),
        ("name: three", "name: Three Sites", 1, "name", "not a usable name", None),
    ],
)
def test_a_fault_in_a_topology_is_located(
    tmp_path: Path, old: str, new: str, line: int, key: str, says: str, suggests: str | None
) -> None:
    with pytest.raises(BadFile) as caught:
        plan(tmp_path, topology=TOPOLOGY.replace(old, new, 1))
    finding = caught.value.findings[0]
    assert (finding.line, finding.key) == (line, key)
    assert finding.file.endswith("topology.yaml")
    assert says in finding.what
    assert suggests is None or finding.suggestion is not None


def test_every_fault_is_shown_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadFile) as caught:
        plan(tmp_path, SCENARIO.replace("10/s", "10").replace("1KiB", "1KB").replace("5s}", "5 fortnights}"))
    assert [finding.key for finding in caught.value.findings] == [
        "workloads.call.rate",
        "workloads.call.payload",
        "load.duration",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("- a\n- b\n", "not a mapping"),
        ("a: [1, 2", "not readable as YAML"),
        ("a: !!python/object/apply:os.system [id]\n", "unknown YAML tag"),
        ("? [a, b]\n: c\n", "plain text"),
        ("a: &x [*x]\n", "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: 1\nb: \x7f\n", r":2: .*U\+007F"),
        ('a: "\\0"\n', r"U\+0000"),
        ('a: "\\ud800"\n', r"U\+D800"),
        ("a: !!bool maybe\n", "unknown YAML tag"),
        ('a: !!int ""\n', "unknown YAML tag"),
        ("a: !!timestamp x\n", "unknown YAML tag"),
        ("a: 1" + "0" * 5000, "a number of 5001 digits"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", ":2: c.<<: YAML's merge keys are not supported"),
    ],
)
def test_a_file_that_is_no_scenario_at_all(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadFile, match=says):
        plan(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("graph: mesh", "graph: mehs", "one of: mesh, line, ring, star, or a list\n  did you mean: mesh?"),
        ("graph: mesh", "graph: [[core]]", "amqp1.bus.graph.0.1: this key is missing\n  expected: one more value"),
        ("at: core}", "at: core, config: {a: [1]}}", "expected: text, or a whole number, or true or false"),
        ("at: core}", "at: core, memory: 1MiB}", "'1MiB' is out of bounds\n  expected: at least 8MiB"),
        ("load: {", "stacks: {x: {python: 3.11}}\nload: {", "expected: text, in quotes: '3.11'"),
    ],
)
def test_one_fault_is_one_finding_in_the_files_words(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(BadFile, match=re.escape(says)) as caught:
        plan(tmp_path, SCENARIO.replace(old, new, 1))
    assert len(caught.value.findings) == 1


def test_a_fault_of_a_value_from_the_command_line_names_it(tmp_path: Path) -> None:
    plan(tmp_path)
    with pytest.raises(BadFile, match=r"^--set scale: 0 is out of bounds"):
        load_scenario(tmp_path / "scenario.yaml", {"scale": 0})
    with pytest.raises(BadFile, match=r"^--set workloads\.\*\.rate: workloads\.call\.rate: 5 has no unit"):
        load_scenario(tmp_path / "scenario.yaml", {"workloads.*.rate": 5})
    with pytest.raises(BadInput, match=r"did you mean core-edge-a\?"):
        load_scenario(tmp_path / "scenario.yaml", {"links.core-egde-a.rtt": "5ms"})
    with pytest.raises(BadInput, match=r"did you mean amqp1\?"):
        plan_run(load_scenario(tmp_path / "scenario.yaml"), systems=["amqp"])


def test_a_device_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(BadInput, match="device or pipe"):
            load_scenario(path)


def test_a_number_of_clients_swept_over_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text(SCENARIO.replace("{edge-a: 1}", "5"))
    with pytest.raises(BadFile, match=r"workloads\.call\.clients: 3 does not fit here\n  expected: a mapping"):
        load_scenario(tmp_path / "scenario.yaml", {"clients": 3})


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(BadFile, match="too large"):
        plan(tmp_path, "\n".join(levels))


def test_a_fault_in_a_topology_within_a_scenario_is_one_finding(tmp_path: Path) -> None:
    inside = "topology: {name: three, sites: [core, edge-a, edge-b], links: {loop: {between: [core, core], rtt: 20ms}}}"
    text = re.sub(r"^topology: .*$", inside, SCENARIO, flags=re.MULTILINE)
    with pytest.raises(BadFile) as caught:
        plan(tmp_path, text)
    assert [finding.key for finding in caught.value.findings] == ["topology.links.loop.between"]


def _mutate(data: object, rng: random.Random) -> object:
    """Change one random spot of a nested value."""
    junk: list[object] = [
        None,
        -1,
        1e308,
        "",
        "x",
        [],
        {},
        True,
        "80 ms ms",
        {"a": {"b": 1}},
        ["core"],
        "\x00",
        10**400,
    ]
    if isinstance(data, dict) and data and rng.random() < 0.85:
        key = rng.choice(list(data))
        changed = dict(data)
        roll = rng.random()
        if roll < 0.15:
            del changed[key]
        elif roll < 0.3:
            changed[f"{key}x"] = changed.pop(key)
        else:
            changed[key] = _mutate(changed[key], rng)
        return changed
    if isinstance(data, list) and data and rng.random() < 0.7:
        changed_list = list(data)
        index = rng.randrange(len(data))
        changed_list[index] = _mutate(changed_list[index], rng)
        return changed_list
    return rng.choice(junk)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), both=st.booleans())
def test_mutated_files_give_findings_never_tracebacks(
    tmp_path_factory: pytest.TempPathFactory, seed: int, both: bool
) -> None:
    rng = random.Random(seed)
    scenario = yaml.safe_dump(_mutate(yaml.safe_load(SCENARIO), rng))
    topology = yaml.safe_dump(_mutate(yaml.safe_load(TOPOLOGY), rng)) if both else TOPOLOGY
    directory = tmp_path_factory.mktemp("mutated")
    faults = ""
    try:
        plan(directory, scenario, topology)
    except BadInput as error:
        faults = str(error)
    assert not faults or faults.startswith(str(directory)), "a fault says in which file it is"
