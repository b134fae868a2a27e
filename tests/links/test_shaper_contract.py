"""One suite for every link backend the machine has: apply, read back, measure, change, cut, heal, remove."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.errors import LinkFailure
from harness.links.netem import NetemShaper
from harness.links.nfqueue_shaper import NfqueueShaper
from harness.links.probe import Probing, probe_links
from harness.links.protocol import LinkShaper
from harness.model.links import GilbertElliott, Impairment, effective, severed
from harness.plan.cell import LabPlan
from harness.runtime.local import LocalRuntime
from tests.links.labs import Ping, connect_times_s, one_way_datagrams, sites_lab
from tests.patience import least

#: Backend, and whether the lab is made without privileges.
BACKENDS: dict[str, tuple[type[LinkShaper], bool]] = {
    "nfqueue": (NfqueueShaper, False),
    "nfqueue-rootless": (NfqueueShaper, True),
    "netem": (NetemShaper, False),
    "netem-rootless": (NetemShaper, True),
}

PLAIN = Impairment(delay_s=0.02)
EVERYTHING = Impairment(
    delay_s=0.0123,
    jitter_s=0.0025,
    jitter_distribution="pareto",
    reorder=True,
    burst_loss=GilbertElliott(0.01, 0.25, 0.9, 0.001),
    duplicate=0.02,
    corrupt=0.003,
    rate_bps=20e6,
    queue_bytes=100_000,
)


#: Why a backend cannot work on this machine, found out once.
_ABSENT: dict[str, str] = {}


class Shaped:
    """An opened lab whose links are applied."""

    def __init__(self, lab: LocalRuntime, plan: LabPlan, shaper: LinkShaper) -> None:
        self.lab, self.plan, self.shaper = lab, plan, shaper

    def ping(self, source: str, target: str, *, v6: bool = False, **options: Any) -> Ping:
        node = self.plan.node(target)
        return Ping(self.lab, source, node.address6 if v6 else node.address, **options)

    def round_trip_ms(self, below: float, *, v6: bool = False) -> float:
        """The least round trip from h1 to h2 that is found, ms."""
        return least(lambda: self.ping("h1", "h2", v6=v6, count=3).least_ms, below)

    def connect_s(self, below: float, *, v6: bool) -> float:
        """The least time a TCP connection from h1 to h2 takes, seconds."""
        node = self.plan.node("h2")
        return least(lambda: min(connect_times_s(self.lab, "h1", node.address6 if v6 else node.address)), below)


class Bench:
    """Makes shaped labs of one backend; all end with the test."""

    def __init__(self, name: str, folder: Path, stack: ExitStack) -> None:
        self._name = name
        self.backend, self.rootless = BACKENDS[name]
        self._folder, self._stack = folder, stack

    def shaped(self, plan: LabPlan) -> Shaped:
        if self._name in _ABSENT:
            pytest.skip(_ABSENT[self._name])
        lab = self._stack.enter_context(LocalRuntime("links-contract", self._folder / "logs", rootless=self.rootless))
        lab.open(plan)
        reason = self.backend.unavailable(lab)
        if reason is not None and self.backend is NetemShaper:
            _ABSENT[self._name] = f"this kernel has no netem: {reason}"
            pytest.skip(_ABSENT[self._name])
        assert reason is None
        shaper = self.backend()
        self._stack.callback(shaper.close)
        shaper.apply(lab, plan.links)
        return Shaped(lab, plan, shaper)


@pytest.fixture(params=list(BACKENDS))
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with ExitStack() as stack:
        yield Bench(request.param, tmp_path, stack)


def flat(impairment: Impairment) -> dict[str, Any]:
    """Comparable numbers; backends may round, a hundred-thousandth at most (queues: to a frame)."""
    fields = asdict(impairment)
    fields.update({f"burst.{name}": value for name, value in (fields.pop("burst_loss") or {}).items()})
    fields["queue_bytes"] = None if fields["queue_bytes"] is None else round(fields["queue_bytes"] / 1600)
    return {
        name: pytest.approx(value, rel=1e-5) if isinstance(value, float) else value for name, value in fields.items()
    }


def test_what_is_applied_is_read_back_and_so_is_what_is_changed(bench: Bench) -> None:
    links = {("s1", "s2"): PLAIN, ("s2", "s1"): EVERYTHING, ("s1", "s3"): Impairment(loss=0.015, rate_bps=5e6)}
    at = bench.shaped(sites_lab(3, links))
    found = at.shaper.read_back()
    assert {pair: flat(value) for pair, value in found.items()} == {p: flat(effective(v)) for p, v in links.items()}
    at.shaper.change("s1", "s2", EVERYTHING)
    at.shaper.change("s2", "s1", PLAIN)
    at.shaper.cut("s1", "s3")
    found = at.shaper.read_back()
    assert flat(found["s1", "s2"]) == flat(EVERYTHING)
    assert flat(found["s2", "s1"]) == flat(PLAIN)
    assert found["s1", "s3"].loss == 1
    at.shaper.heal("s1", "s3")
    assert at.shaper.read_back()["s1", "s3"].loss == pytest.approx(0.015, rel=1e-5)
    at.shaper.check()


def test_distance_is_real_for_every_protocol_and_only_where_declared(bench: Bench) -> None:
    links = {("s1", "s2"): Impairment(delay_s=0.05), ("s2", "s1"): Impairment(delay_s=0.03)}
    at = bench.shaped(sites_lab(3, links))
    for v6 in (False, True):
        assert 80 <= at.round_trip_ms(100, v6=v6) < 100
        assert 0.08 <= at.connect_s(0.12, v6=v6) < 0.12  # one round trip, not two
        assert at.ping("h1", "h3", v6=v6, count=3).received == 0
        assert at.ping("h3", "h2", v6=v6, count=3).received == 0


def test_a_change_acts_on_the_next_packet(bench: Bench) -> None:
    at = bench.shaped(sites_lab(2, PLAIN))
    before = time.monotonic()
    instant = at.shaper.change("s1", "s2", Impairment(delay_s=0.1))
    assert before <= instant <= time.monotonic()
    assert 120 <= at.round_trip_ms(140) < 140
    at.shaper.change("s1", "s2", Impairment())
    assert 20 <= at.round_trip_ms(40) < 40


def test_no_packet_crosses_unimpaired_while_links_change(bench: Bench) -> None:
    at = bench.shaped(sites_lab(2, Impairment(delay_s=0.03)))
    random_source = random.Random(6)
    stop = threading.Event()
    changes = 0

    def change() -> None:
        nonlocal changes
        while not stop.is_set():
            ends = random_source.choice([("s1", "s2"), ("s2", "s1")])
            jitter_s, rate_bps = random_source.choice([(0.0, None), (0.001, None), (0.0, 1e9), (0.002, 1e9)])
            delay_s = random_source.choice([0.03, 0.04, 0.06])
            at.shaper.change(
                *ends, Impairment(delay_s=delay_s, jitter_s=jitter_s, jitter_distribution="uniform", rate_bps=rate_bps)
            )
            changes += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        ping = at.ping("h1", "h2", count=400, interval_s=0.005)
    finally:
        stop.set()
        thread.join()
    assert changes >= 50
    assert ping.received == ping.sent
    assert ping.least_ms >= 56  # twice 30 ms, less the widest jitter of both directions


def test_one_direction_is_cut_and_healed(bench: Bench) -> None:
    at = bench.shaped(sites_lab(2, PLAIN))
    at.shaper.cut("s1", "s2")
    assert at.ping("h1", "h2", count=5).received == 0
    assert one_way_datagrams(at.lab, at.plan, "h1", "h2", 20) == 0
    at.shaper.heal("s1", "s2")
    assert at.ping("h1", "h2", count=5).received == 5
    # The neighbours know each other now, so a datagram needs no answer to be delivered.
    at.shaper.cut("s1", "s2")
    assert one_way_datagrams(at.lab, at.plan, "h2", "h1", 20) == 20


def test_what_is_changed_during_a_partition_holds_after_it(bench: Bench) -> None:
    at = bench.shaped(sites_lab(2, PLAIN))
    for ends in (("s1", "s2"), ("s2", "s1")):
        at.shaper.cut(*ends)
        at.shaper.change(*ends, Impairment(delay_s=0.05))
        assert at.shaper.read_back()[ends] == severed(at.shaper.read_back()[ends])
    assert at.ping("h1", "h2", count=3).received == 0
    for ends in (("s1", "s2"), ("s2", "s1")):
        at.shaper.heal(*ends)
    assert 100 <= at.round_trip_ms(120) < 120


@pytest.mark.parametrize("healed", [False, True])
def test_what_was_under_way_when_a_link_was_cut_is_lost(bench: Bench, healed: bool) -> None:
    """Also if the cut is shorter than the delay."""
    at = bench.shaped(sites_lab(2, {("s1", "s2"): Impairment(delay_s=0.9), ("s2", "s1"): Impairment()}))
    assert at.ping("h1", "h2", count=1, patience_s=10).received == 1
    received: list[int] = []
    thread = threading.Thread(target=lambda: received.append(one_way_datagrams(at.lab, at.plan, "h1", "h2", 10)))
    thread.start()
    while not any(link["arrived"] >= 11 for link in at.shaper.evidence()["links"]):
        time.sleep(0.01)
    at.shaper.cut("s1", "s2")
    if healed:
        time.sleep(0.1)
        at.shaper.heal("s1", "s2")
    thread.join()
    assert received == [0]
    if not healed:
        at.shaper.heal("s1", "s2")
    at.shaper.check()
    assert at.ping("h1", "h2", count=1, patience_s=10).received == 1


def test_packets_are_lost_duplicated_and_corrupted_as_often_as_asked_for(bench: Bench) -> None:
    at = bench.shaped(sites_lab(2, Impairment()))
    at.shaper.change("s1", "s2", Impairment(loss=0.3))
    lost = at.ping("h1", "h2", count=500, interval_s=0.002)
    assert 0.2 < 1 - lost.received / lost.sent < 0.4  # five standard deviations
    at.shaper.change("s1", "s2", Impairment(duplicate=1.0))
    assert at.ping("h1", "h2", count=5).duplicates >= 4  # ping ends with the last first answer
    assert at.ping("h1", "h2", v6=True, count=5).duplicates >= 4
    at.shaper.change("s1", "s2", Impairment(corrupt=1.0))
    assert at.ping("h1", "h2", count=20).received <= 4  # a flipped bit fails a checksum, but not in padding
    at.shaper.change("s1", "s2", Impairment())
    assert at.ping("h1", "h2", count=20).received == 20


def test_jitter_reorders_only_on_request(bench: Bench) -> None:
    jitter = Impairment(delay_s=0.03, jitter_s=0.02, jitter_distribution="uniform")
    at = bench.shaped(sites_lab(2, {("s1", "s2"): jitter, ("s2", "s1"): Impairment()}))
    probing = Probing(count=200, spacing_s=0.003)
    kept = probe_links(at.lab, at.plan, probing).probes[0]
    assert kept.out_of_order == 0
    assert kept.rtt is not None
    assert kept.rtt.min_s >= 0.01
    assert kept.rtt.p99_s > kept.rtt.min_s + 0.01
    at.shaper.change("s1", "s2", Impairment(0.03, 0.02, "uniform", reorder=True))
    assert probe_links(at.lab, at.plan, probing).probes[0].out_of_order > 20


def test_a_rate_holds_back_bytes_up_to_its_queue(bench: Bench) -> None:
    slow = Impairment(rate_bps=1e6, queue_bytes=20_000)
    at = bench.shaped(sites_lab(2, {("s1", "s2"): slow, ("s2", "s1"): Impairment()}))
    assert at.ping("h1", "h2", count=2).received == 2
    # More pass where sending them took its time.
    assert 15 <= least(lambda: one_way_datagrams(at.lab, at.plan, "h1", "h2", 200, 1000), 41) <= 40
    at.shaper.change("s1", "s2", Impairment(rate_bps=20e6, queue_bytes=200_000))
    measured = probe_links(at.lab, at.plan, Probing(count=3, throughput_s=1.0)).probes[0].throughput
    assert measured is not None
    assert 1.1e6 < measured.bits_per_s < 20.5e6


def test_nothing_crosses_after_the_links_are_taken_down(bench: Bench) -> None:
    at = bench.shaped(sites_lab(2, PLAIN))
    assert at.ping("h1", "h2", count=2).received == 2
    at.shaper.close()
    at.shaper.close()
    assert at.ping("h1", "h2", count=3).received == 0
    assert at.ping("h1", "h2", v6=True, count=3).received == 0
    with pytest.raises(LinkFailure):
        at.shaper.check()
    with pytest.raises(LinkFailure):
        at.shaper.change("s1", "s2", PLAIN)


def test_a_link_that_was_not_applied_cannot_be_changed(bench: Bench) -> None:
    at = bench.shaped(sites_lab(2, {("s1", "s2"): PLAIN}))
    for act in (at.shaper.cut, at.shaper.heal):
        with pytest.raises(LinkFailure, match="no link from s2 to s1"):
            act("s2", "s1")
    with pytest.raises(LinkFailure, match="no link from s2 to s1"):
        at.shaper.change("s2", "s1", PLAIN)


def test_sixteen_sites(bench: Bench) -> None:
    at = bench.shaped(sites_lab(16, Impairment(delay_s=0.04)))
    assert len(at.shaper.read_back()) == 240
    measurement = probe_links(at.lab, at.plan, Probing(count=5, spacing_s=0.2))
    assert len(measurement.probes) == 240
    assert measurement.not_probed == ()
    assert [probe for probe in measurement.probes if probe.rtt is None or probe.rtt.min_s < 0.08] == []
    evidence = at.shaper.evidence()
    assert len(evidence["links"]) == 240
    assert all(link["arrived"] >= 5 for link in evidence["links"])
