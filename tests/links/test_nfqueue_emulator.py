"""What only the userspace emulator can suffer: it dies, it hangs, it is late; and what it says about itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import LinkFailure
from harness.links.nfqueue_shaper import NfqueueShaper
from harness.model.links import Impairment
from harness.plan.cell import LabPlan
from harness.runtime.local import LocalRuntime
from harness.runtime.protocol import WAN
from tests.links.labs import Ping, sites_lab

PLAN = sites_lab(2, Impairment(delay_s=0.02))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalRuntime]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with LocalRuntime("links-emulator", tmp_path / "logs") as runtime:
        runtime.open(PLAN)
        yield runtime


@pytest.fixture
def shaper(lab: LocalRuntime) -> Iterator[NfqueueShaper]:
    shaper = NfqueueShaper()
    shaper.apply(lab, PLAN.links)
    yield shaper
    shaper.close()


def ping(lab: LocalRuntime, plan: LabPlan = PLAN, count: int = 3) -> Ping:
    return Ping(lab, "h1", plan.node("h2").address, count=count)


def emulator_pid(lab: LocalRuntime) -> str:
    return lab.run(WAN, ["sh", "-c", "pgrep -f 'links[.]pyz'"]).stdout.strip()


def check_for_two_seconds(shaper: NfqueueShaper) -> None:
    """As a run does it, only more often."""
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        shaper.check()


def test_a_killed_emulator_means_no_traffic_is_noticed_and_can_be_started_again(
    lab: LocalRuntime, shaper: NfqueueShaper
) -> None:
    shaper.change("s1", "s2", Impairment(delay_s=0.05))
    shaper.cut("s2", "s1")
    shaper.heal("s2", "s1")
    assert ping(lab).received == 3
    lab.run(WAN, ["kill", "-9", emulator_pid(lab)])
    with pytest.raises(LinkFailure, match="has ended"):
        check_for_two_seconds(shaper)
    assert ping(lab).received == 0
    with pytest.raises(LinkFailure):
        shaper.evidence()
    shaper.resume()
    shaper.check()
    again = ping(lab)
    assert again.received == 3
    assert again.least_ms >= 70


def test_what_was_cut_stays_cut_when_the_emulator_is_started_again(lab: LocalRuntime, shaper: NfqueueShaper) -> None:
    shaper.cut("s1", "s2")
    lab.run(WAN, ["kill", "-9", emulator_pid(lab)])
    with pytest.raises(LinkFailure):
        check_for_two_seconds(shaper)
    shaper.resume()
    assert ping(lab).received == 0
    shaper.heal("s1", "s2")
    assert ping(lab).received == 3


def test_a_hung_emulator_is_noticed_and_lets_nothing_pass(lab: LocalRuntime, shaper: NfqueueShaper) -> None:
    pid = emulator_pid(lab)
    lab.run(WAN, ["kill", f"-{signal.SIGSTOP}", pid])
    with pytest.raises(LinkFailure, match="did not answer"):
        shaper.check()
    assert ping(lab).received == 0
    lab.run(WAN, ["kill", f"-{signal.SIGCONT}", pid])
    shaper.check()


def test_a_running_emulator_is_not_started_twice(shaper: NfqueueShaper) -> None:
    with pytest.raises(LinkFailure, match="still running"):
        shaper.resume()


def test_it_accounts_for_every_packet(lab: LocalRuntime, shaper: NfqueueShaper) -> None:
    ping(lab, count=20)
    shaper.cut("s2", "s1")
    ping(lab, count=5)
    evidence = shaper.evidence()
    there, back = evidence["links"]
    assert (there["source"], there["arrived"], there["released"]) == ("s1", 25, 25)
    assert (back["source"], back["arrived"], back["released"], back["cut_dropped"]) == ("s2", 25, 20, 5)
    lateness = evidence["lateness"]
    assert lateness["packets"] == sum(count for _, count in lateness["histogram"]) == 45
    assert 0 < lateness["p50_s"] <= lateness["p99_s"] <= lateness["max_s"] + 1e-5
    assert evidence["kernel"] == {"waiting": 0, "queue_dropped": 0, "socket_dropped": 0}
    assert evidence["scheduling"]["class"] in ("SCHED_FIFO", "SCHED_OTHER")
    assert ("refused" in evidence["scheduling"]) == (evidence["scheduling"]["class"] == "SCHED_OTHER")
    assert evidence["valid"] == (not evidence["why"])


def test_a_request_it_cannot_carry_out_changes_nothing(shaper: NfqueueShaper) -> None:
    before = shaper.read_back()
    with pytest.raises(LinkFailure, match="refused change"):
        shaper.change("s1", "s2", Impairment(jitter_s=0.001, jitter_distribution="cauchy"))  # type: ignore[arg-type]
    assert shaper.read_back() == before
    shaper.check()
