"""Probing real links from real nodes, and the choice of a backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BadInput, LinkFailure, MissingCapability
from harness.links import gateway
from harness.links.fake import FakeShaper
from harness.links.measurement import judge
from harness.links.probe import Probing, probe_links, require_declared
from harness.links.registry import BUILT_IN, choose_shaper
from harness.model.links import Impairment, effective
from harness.plan.cell import LinkPlan
from harness.runtime.fake import FakeRuntime
from harness.runtime.local import LocalRuntime
from tests.links.labs import sites_lab

LINKS = {
    ("s1", "s2"): Impairment(delay_s=0.03),
    ("s2", "s1"): Impairment(delay_s=0.01),
    ("s1", "s3"): Impairment(delay_s=0.005),
    ("s3", "s1"): Impairment(delay_s=0.005),
    ("s3", "s2"): Impairment(delay_s=0.001),
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalRuntime]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with LocalRuntime("links-probe", tmp_path / "logs") as runtime:
        yield runtime


@pytest.mark.parametrize("family", [4, 6])
def test_every_link_with_nodes_at_both_ends_is_probed(lab: LocalRuntime, family: int) -> None:
    whole = sites_lab(3, LINKS)
    plan = replace(whole, nodes=tuple(node for node in whole.nodes if node.site != "s3"))
    lab.open(plan)
    shaper = choose_shaper(lab)
    shaper.apply(lab, plan.links)
    measurement = probe_links(lab, plan, Probing(count=10, spacing_s=0.02, family=6 if family == 6 else 4))
    shaper.close()
    assert [(probe.source, probe.target, probe.sent) for probe in measurement.probes] == [
        ("s1", "s2", 10),
        ("s2", "s1", 10),
    ]
    assert {(source, target) for source, target, _ in measurement.not_probed} == {
        ("s1", "s3"),
        ("s3", "s1"),
        ("s3", "s2"),
    }
    there, back = measurement.probes
    assert there.rtt is not None
    assert there.rtt == back.rtt
    assert there.rtt.min_s >= 0.04
    assert there.declared_s == pytest.approx(0.04)
    assert there.one_way is not None
    assert back.one_way is not None
    assert there.one_way.min_s >= 0.03 > back.one_way.min_s >= 0.01
    assert set(measurement.congestion_control) == {"h1", "h2"}
    assert all(measurement.congestion_control.values())


def test_a_way_without_return_is_not_probed(lab: LocalRuntime) -> None:
    plan = sites_lab(2, {("s1", "s2"): Impairment()})
    lab.open(plan)
    shaper = choose_shaper(lab)
    shaper.apply(lab, plan.links)
    assert probe_links(lab, plan).not_probed == (("s1", "s2", "no link back from s2 to s1"),)
    shaper.close()


def test_a_link_that_is_not_what_was_declared_is_found_out(lab: LocalRuntime) -> None:
    plan = sites_lab(2, Impairment(delay_s=0.05))
    lab.open(plan)
    shaper = choose_shaper(lab)
    shaper.apply(lab, plan.links)
    shaper.change("s1", "s2", Impairment(delay_s=0.01))
    measurement = probe_links(lab, plan, Probing(count=5, spacing_s=0.02))
    assert [verdict.off for verdict in judge(measurement, plan.links)] == [True, True]
    with pytest.raises(LinkFailure, match=r"declared 100.00 ms"):
        require_declared(measurement, plan.links)
    shaper.cut("s2", "s1")
    lost = probe_links(lab, plan, Probing(count=5, spacing_s=0.02))
    assert all(probe.lost == 5 and probe.rtt is None for probe in lost.probes)
    shaper.close()


def test_throughput_is_measured_on_request(lab: LocalRuntime) -> None:
    plan = sites_lab(2, Impairment(delay_s=0.01, rate_bps=20e6))
    lab.open(plan)
    shaper = choose_shaper(lab)
    shaper.apply(lab, plan.links)
    for probe in probe_links(lab, plan, Probing(count=3, throughput_s=1.0, congestion="cubic")).probes:
        assert probe.throughput is not None
        assert probe.throughput.congestion == "cubic"
        assert probe.throughput.connect_s >= 0.02
        assert 1e6 < probe.throughput.bits_per_s < 20.5e6
    shaper.close()


def test_a_backend_is_chosen_by_trying(lab: LocalRuntime, tmp_path: Path) -> None:
    lab.open(sites_lab(1, {}))
    assert choose_shaper(lab).name in ("netem", "nfqueue")
    assert choose_shaper(lab, "nfqueue").name == "nfqueue"
    with pytest.raises(BadInput, match="no link backend 'netmem'"):
        choose_shaper(lab, "netmem")
    with pytest.raises(MissingCapability, match="fake: runtime 'local' has a real network"):
        choose_shaper(lab, "fake")
    with FakeRuntime("fake", tmp_path) as fake:
        fake.open(sites_lab(1, {}))
        assert isinstance(choose_shaper(fake), FakeShaper)
        # Its nodes are the machine itself, whose network nobody may touch.
        with pytest.raises(MissingCapability, match="no network of its own"):
            choose_shaper(fake, "nfqueue")
        with pytest.raises(LinkFailure, match="not ours to set"):
            gateway.refuse_all(fake)
    assert list(BUILT_IN) == ["netem", "nfqueue", "fake"]


def test_the_fake_backend_keeps_the_contract_without_a_network(tmp_path: Path) -> None:
    shaper = FakeShaper()
    with pytest.raises(LinkFailure):
        shaper.check()
    plain, slow = Impairment(delay_s=0.01), Impairment(rate_bps=1e6)
    with FakeRuntime("fake", tmp_path) as lab:
        shaper.apply(lab, [LinkPlan("l", "a", "b", plain), LinkPlan("l", "b", "a", plain)])
    assert shaper.change("a", "b", slow) <= shaper.cut("b", "a")
    assert shaper.read_back() == {("a", "b"): effective(slow), ("b", "a"): Impairment(delay_s=0.01, loss=1.0)}
    shaper.heal("b", "a")
    assert shaper.read_back()["b", "a"] == plain
    assert shaper.evidence()["valid"]
    with pytest.raises(LinkFailure, match="no link from a to c"):
        shaper.cut("a", "c")
    shaper.close()
    with pytest.raises(LinkFailure):
        shaper.check()
