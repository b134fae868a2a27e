"""netem's commands: exact text, understood by the real tc, and trees that only get their own direction's packets."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.links import gateway, netem_plan
from harness.links.netem_plan import Shape
from harness.model.links import GilbertElliott, Impairment, effective
from harness.runtime.local import LocalRuntime
from harness.runtime.protocol import WAN
from tests.links.labs import Ping, sites_lab

SHAPE = Shape("link3", "site1", ("10.203.2.0/24", "fdfe:3d0c:cb:2::/64"))
RICH = Impairment(
    delay_s=0.0401,
    jitter_s=0.002,
    jitter_distribution="pareto",
    burst_loss=GilbertElliott(0.01, 0.25, 0.9, 0.001),
    duplicate=0.005,
    corrupt=0.0025,
    rate_bps=100e6,
    queue_bytes=65536,
)


def test_the_whole_tree_of_a_direction() -> None:
    assert netem_plan.device_commands([SHAPE]) == (
        "link add link3 numtxqueues 1 numrxqueues 1 type ifb\nlink set link3 mtu 1500 txqueuelen 10000 up\n"
    )
    assert netem_plan.tree_commands([(SHAPE, RICH)]) == (
        "qdisc add dev link3 root handle 1: tbf rate 100000000000bit burst 1518b limit 1073741824b\n"
        "qdisc add dev link3 parent 1:1 handle 2: netem limit 1000000 delay 40100.000us 2000.000us distribution pareto"
        " loss gemodel 1% 25% 90% 0.1% duplicate 0.5% corrupt 0.25% rate 1000000000000bit\n"
        "qdisc add dev link3 parent 2:1 handle 3: tbf rate 100000000bit burst 3125b limit 65536b\n"
        "qdisc add dev site1 ingress\n"
        "filter add dev site1 parent ffff: protocol ip prio 10 u32 match ip dst 10.203.2.0/24"
        " action mirred egress redirect dev link3\n"
        "filter add dev site1 parent ffff: protocol ipv6 prio 20 u32 match ip6 dst fdfe:3d0c:cb:2::/64"
        " action mirred egress redirect dev link3\n"
    )
    assert netem_plan.teardown_commands([SHAPE]) == "link del link3\n"


def test_a_change_touches_what_is_there_and_says_every_value() -> None:
    assert netem_plan.change_commands(SHAPE, Impairment(delay_s=0.01, loss=0.015)) == (
        "qdisc change dev link3 parent 1:1 handle 2: netem limit 1000000 delay 10000.000us"
        " loss random 1.5% duplicate 0% corrupt 0% rate 0bit\n"
        "qdisc change dev link3 parent 2:1 handle 3: tbf rate 100000000000bit burst 65536b limit 1073741824b\n"
    )


def test_one_ingress_per_site_one_tree_per_direction() -> None:
    shapes = [
        Shape("link1", "site1", ("10.0.2.0/24",)),
        Shape("link2", "site1", ("10.0.3.0/24",)),
        Shape("link3", "site2", ("10.0.1.0/24",)),
    ]
    text = netem_plan.tree_commands([(shape, Impairment()) for shape in shapes])
    assert re.findall("qdisc add dev (.*) ingress", text) == ["site1", "site2"]
    assert re.findall("dev (link.) parent 1:1 handle 2: netem", text) == ["link1", "link2", "link3"]
    assert re.findall("dst (.*) action.*dev (.*)", text) == [
        ("10.0.2.0/24", "link1"),
        ("10.0.3.0/24", "link2"),
        ("10.0.1.0/24", "link3"),
    ]


def test_order_is_kept_by_a_rate_unless_reordering_is_asked_for() -> None:
    assert netem_plan.netem_arguments(Impairment(0.01, 0.001))[-1] == "1000000000000bit"
    assert netem_plan.netem_arguments(Impairment(0.01, 0.001, reorder=True))[-1] == "0bit"
    assert netem_plan.netem_arguments(Impairment(0.01))[-1] == "0bit"


def test_jitter_on_a_link_without_delay_gets_the_least_one() -> None:
    arguments = netem_plan.netem_arguments(Impairment(jitter_s=0.001, jitter_distribution="uniform"))
    assert arguments[2:7] == ["delay", "1.000us", "1000.000us", "distribution", "uniform"]


def test_bursts_are_short_and_never_shorter_than_two_frames() -> None:
    assert netem_plan.rate_arguments(effective(Impairment(rate_bps=1e6)), 1500)[3] == "3036b"
    assert netem_plan.rate_arguments(effective(Impairment(rate_bps=1e9)), 1500)[3] == "31250b"
    assert netem_plan.rate_arguments(Impairment(rate_bps=1e6, queue_bytes=100), 1500)[5] == "1518b"


def test_a_burst_is_no_longer_than_the_queue() -> None:
    short = netem_plan.rate_arguments(Impairment(rate_bps=1e9, queue_bytes=20_000), 1500)
    assert short == ["rate", "1000000000bit", "burst", "20000b", "limit", "20000b"]
    assert netem_plan.rate_arguments(Impairment(rate_bps=1e9, queue_bytes=100), 1500)[3] == "1518b"


def test_netem_holds_what_comes_during_the_delay() -> None:
    def limit(impairment: Impairment) -> int:
        return int(netem_plan.netem_arguments(impairment)[1])

    assert limit(Impairment(delay_s=0.04)) == 1_000_000
    assert limit(Impairment(delay_s=0.5)) == 3_000_000
    assert limit(Impairment(delay_s=0.5, rate_bps=1e9)) == 1_000_000
    assert limit(Impairment(delay_s=60, jitter_s=60)) < 1 << 32


def test_a_direction_is_flushed_by_making_its_netem_anew() -> None:
    assert netem_plan.flush_commands(SHAPE, Impairment(delay_s=0.01, loss=1.0)) == (
        "qdisc del dev link3 parent 1:1 handle 2:\n"
        "qdisc add dev link3 parent 1:1 handle 2: netem limit 1000000 delay 10000.000us"
        " loss random 100% duplicate 0% corrupt 0% rate 0bit\n"
        "qdisc add dev link3 parent 2:1 handle 3: tbf rate 100000000000bit burst 65536b limit 1073741824b\n"
    )


#: As `tc -j qdisc show` and `tc -j filter show dev site1 parent ffff:` print them, less what is not looked at.
TREE: list[dict[str, Any]] = [
    {"kind": "tbf", "handle": "1:", "dev": "link3"},
    {"kind": "netem", "handle": "2:", "dev": "link3", "parent": "1:1"},
    {"kind": "tbf", "handle": "3:", "dev": "link3", "parent": "2:1"},
    {"kind": "ingress", "handle": "ffff:", "dev": "site1", "parent": "ffff:fff1"},
]
FILTERS: list[dict[str, Any]] = [
    {"protocol": "ip", "pref": 10, "kind": "u32", "chain": 0},
    {"protocol": "ip", "pref": 10, "kind": "u32", "chain": 0, "options": {"fh": "800:", "ht_divisor": 1}},
    *(
        {
            "protocol": protocol,
            "kind": "u32",
            "options": {"actions": [{"kind": "mirred", "mirred_action": "redirect", "to_dev": "link3"}]},
        }
        for protocol in ("ip", "ipv6")
    ),
]


def test_what_is_looked_at_to_see_whether_links_stand() -> None:
    assert netem_plan.check_commands([SHAPE, SHAPE]) == "qdisc show\nfilter show dev site1 parent ffff:\n"
    assert netem_plan.missing_parts([SHAPE], [TREE, FILTERS]) == []


@pytest.mark.parametrize(
    ("listed", "missing"),
    [
        ([[part for part in TREE if part["handle"] != handle], FILTERS], [f"{device} has no {kind} {handle}"])
        for device, kind, handle in (
            ("link3", "tbf", "1:"),
            ("link3", "netem", "2:"),
            ("link3", "tbf", "3:"),
            ("site1", "ingress", "ffff:"),
        )
    ]
    + [
        ([TREE, FILTERS[:3]], ["site1 does not lead all ipv6 packets to link3"]),
        ([TREE, FILTERS[3:]], ["site1 does not lead all ip packets to link3"]),
    ],
)
def test_any_part_that_is_gone_is_missed(listed: list[Any], missing: list[str]) -> None:
    assert netem_plan.missing_parts([SHAPE], listed) == missing


def test_nothing_listed_is_everything_missing() -> None:
    assert len(netem_plan.missing_parts([SHAPE], [])) == 6


@pytest.mark.parametrize(
    ("name", "mean", "deviation"), [("normal", 0.0, 1.0), ("uniform", 0.0, 3**-0.5), ("pareto", -0.033, 0.82)]
)
def test_tables_hold_the_same_distributions_as_the_emulator(name: str, mean: float, deviation: float) -> None:
    values = [int(line) / 8192 for line in netem_plan.table_text(name).split()]
    assert len(values) <= 16384  # the kernel's limit
    assert statistics.fmean(values) == pytest.approx(mean, abs=0.005)
    assert statistics.pstdev(values) == pytest.approx(deviation, rel=0.01)
    assert max(abs(value) for value in values) < 4.0


#: As `tc -s -j qdisc show` prints it: six significant digits, a kernel's and iproute2's names.
PRINTED = """[
 {"kind":"netem","handle":"2:","dev":"link3","parent":"1:1","options":{"limit":1000000,
  "delay":{"delay":0.0401,"jitter":0.002,"correlation":0},
  "loss-gemodel":{"p":0.01,"r":0.25,"1-h":0.9,"1-k":0.001},
  "duplicate":{"duplicate":0.005,"correlation":0},"corrupt":{"corrupt":0.0025,"correlation":0},
  "rate":{"rate":125000000000,"packetoverhead":0,"cellsize":0,"celloverhead":0},"ecn":false,"gap":0}},
 {"kind":"tbf","handle":"3:","dev":"link3","parent":"2:1",
  "options":{"rate":12500000,"burst":3125,"lat":4993}}]"""


def test_what_tc_prints_is_read_back() -> None:
    netem, tbf = (discipline["options"] for discipline in json.loads(PRINTED))
    found = netem_plan.read_impairment(netem, tbf, RICH)
    assert found.queue_bytes == pytest.approx(65536, abs=20)
    assert replace(found, queue_bytes=RICH.queue_bytes) == RICH


def test_a_queue_shorter_than_its_burst_is_read_back() -> None:
    """What the real tc prints of `rate 1gbit burst 31250b limit 20000b`: no time, but bytes."""
    found = netem_plan.read_impairment({}, {"rate": 125000000, "burst": 31125, "limit": 20000}, Impairment())
    assert found == Impairment(rate_bps=1e9, queue_bytes=20_000)


def test_a_bare_netem_is_read_back() -> None:
    unlimited = {"rate": 12_500_000_000, "burst": 65536, "lat": 85}
    assert netem_plan.read_impairment({"limit": 1000000}, unlimited, Impairment()) == Impairment()
    lossy = {"limit": 1000000, "delay": {"delay": 0.02, "jitter": 0}, "loss-random": {"loss": 0.01, "correlation": 0}}
    assert netem_plan.read_impairment(lossy, unlimited, Impairment()) == Impairment(delay_s=0.02, loss=0.01)
    reordering = {"limit": 1000000, "delay": {"delay": 0.02, "jitter": 0.001}}
    assert netem_plan.read_impairment(reordering, unlimited, Impairment()).reorder


@given(
    st.builds(
        Impairment,
        delay_s=st.floats(0, 60),
        jitter_s=st.floats(0, 60),
        jitter_distribution=st.sampled_from(["normal", "pareto", "uniform"]),
        reorder=st.booleans(),
        loss=st.floats(0, 1),
        burst_loss=st.none()
        | st.builds(GilbertElliott, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
        duplicate=st.floats(0, 1),
        corrupt=st.floats(0, 1),
        rate_bps=st.none() | st.floats(1000, 9e10),
    )
)
def test_commands_are_plain_words_and_numbers(impairment: Impairment) -> None:
    words = netem_plan.netem_arguments(impairment) + netem_plan.rate_arguments(effective(impairment), 1500)
    for word in words:
        assert re.fullmatch(r"[a-z]+|\d+(\.\d+)?(us|%|bit|b)?", word), word


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalRuntime:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return LocalRuntime("netem-plan", tmp_path / "logs")


def test_the_real_tc_understands_every_word(lab: LocalRuntime, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    for name in netem_plan.TABLES:
        (tables / f"{name}.dist").write_text(netem_plan.table_text(name))
    with lab:
        lab.open(sites_lab(1, {}))
        lab.run(WAN, ["ip", "link", "add", "link3", "type", "ifb"])
        for impairment in (RICH, Impairment(), Impairment(0.1, 0.01, "uniform", reorder=True, loss=1.0)):
            words = netem_plan.netem_arguments(impairment)
            done = lab.run(
                WAN,
                ["tc", "qdisc", "replace", "dev", "link3", "root", "netem", *words],
                env={"TC_LIB_DIR": str(tables)},
            )
            # Either the kernel took it, or it got as far as a kernel that has no netem.
            assert done.returncode == 0 or done.stderr == "Error: Specified qdisc kind is unknown.\n"
        wrong = lab.run(WAN, ["tc", "qdisc", "replace", "dev", "link3", "root", "netem", "delay", "4xs"])
        assert "Illegal" in wrong.stderr


def test_each_directions_packets_go_through_its_own_tree_and_no_other(lab: LocalRuntime) -> None:
    """With a plain token bucket in netem's place, so that it runs on any kernel: the way is the same."""
    plan = sites_lab(3, Impairment())
    sites = {site.name: site for site in plan.sites}
    with lab:
        lab.open(plan)
        shapes = {
            (link.source, link.target): Shape(
                f"link{number}",
                lab.interface(link.source),
                (sites[link.target].subnet, sites[link.target].subnet6),
            )
            for number, link in enumerate(plan.links, start=1)
        }
        tree = netem_plan.tree_commands([(shape, Impairment()) for shape in shapes.values()])
        tree = re.sub("handle 2: netem .*", "handle 2: tbf rate 100gbit burst 65536b limit 1000000b", tree)
        for program, script in (("ip", netem_plan.device_commands(list(shapes.values()))), ("tc", tree)):
            done = lab.run(WAN, [program, "-batch", "-"], input=script.encode())
            assert (done.returncode, done.stderr) == (0, "")
        gateway.install(
            lab,
            [
                gateway.Crossing(lab.interface(link.source), lab.interface(link.target), gateway.accept())
                for link in plan.links
            ],
        )
        for address in (plan.node("h2").address, plan.node("h2").address6):
            assert Ping(lab, "h1", address, count=5).received == 5
        listing = lab.run(WAN, ["tc", "-j", "-batch", "-"], input=netem_plan.check_commands(shapes.values()).encode())
        listed = [
            json.loads(line.replace('"tbf","handle":"2:"', '"netem","handle":"2:"'))
            for line in listing.stdout.splitlines()
        ]
        assert netem_plan.missing_parts(list(shapes.values()), listed) == []
        counted = {}
        for discipline in json.loads(lab.run(WAN, ["tc", "-s", "-j", "qdisc", "show"]).stdout):
            if discipline["handle"] == "3:":
                counted[discipline["dev"]] = discipline["packets"]
        expected = {shape.device: 10 if {"s1", "s2"} == set(pair) else 0 for pair, shape in shapes.items()}
        assert counted == expected
        flush = netem_plan.flush_commands(shapes["s1", "s2"], Impairment())
        flush = re.sub("handle 2: netem .*", "handle 2: tbf rate 100gbit burst 65536b limit 1000000b", flush)
        done = lab.run(WAN, ["tc", "-batch", "-"], input=flush.encode())
        assert (done.returncode, done.stderr) == (0, "")
        assert Ping(lab, "h1", plan.node("h2").address, count=2).received == 2
        removed = lab.run(
            WAN, ["ip", "-batch", "-"], input=netem_plan.teardown_commands(list(shapes.values())).encode()
        )
        assert removed.returncode == 0


def test_the_forwarding_rules() -> None:
    assert gateway.rules(
        [
            gateway.Crossing("site1", "site2", gateway.queue(1)),
            gateway.Crossing("site1", "site3", gateway.accept()),
            gateway.Crossing("site2", "site1", gateway.drop()),
        ]
    ) == (
        "*filter\n"
        ":FORWARD DROP [0:0]\n"
        ":from-site1 - [0:0]\n"
        ":from-site2 - [0:0]\n"
        "-F FORWARD\n"
        "-A FORWARD -i site1 -j from-site1\n"
        "-A FORWARD -i site2 -j from-site2\n"
        "-A from-site1 -o site2 -j NFQUEUE --queue-num 1\n"
        "-A from-site1 -o site3 -j ACCEPT\n"
        "-A from-site2 -o site1 -j DROP\n"
        "COMMIT\n"
    )
