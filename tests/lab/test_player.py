"""Playing changes against a shaper: in order, at their time, and no further once one fails."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from harness.errors import LinkFailure
from harness.lab.player import Played, Player, link_event, link_player, moments, playing
from harness.links.fake import FakeShaper
from harness.model.links import Impairment, severed
from harness.plan.cell import LinkChange, LinkPlan
from tests.links.labs import FakeLab

FAR = Impairment(delay_s=0.1)
CHANGES = (
    LinkChange(0.05, "ab", "a", "b", "change", FAR, 0, "ab: rtt 200ms"),
    LinkChange(0.10, "ab", "b", "a", "cut", None, 1, "ab: partition"),
    LinkChange(0.15, "ab", "b", "a", "heal", None, 1, "ab: partition"),
    LinkChange(0.15, "ab", "b", "a", "cut", None, 2, "ab: partition"),
)


@pytest.fixture
def shaper() -> FakeShaper:
    shaper = FakeShaper()
    shaper.apply(FakeLab, [LinkPlan("ab", "a", "b", Impairment()), LinkPlan("ab", "b", "a", Impairment())])
    return shaper


def wait(player: Player[LinkChange], count: int) -> None:
    end = time.monotonic() + 10
    while len(player.played) < count and time.monotonic() < end:
        time.sleep(0.01)


def test_changes_are_carried_out_and_their_time_recorded(shaper: FakeShaper) -> None:
    player = link_player(shaper, CHANGES, time.monotonic())
    with playing(player):
        wait(player, 4)
        player.check()
    assert tuple(one.change for one in player.played) == CHANGES
    assert all(one.at_s >= one.change.at_s for one in player.played)
    assert shaper.read_back() == {("a", "b"): FAR, ("b", "a"): severed(Impairment())}
    first, second = (link_event(one) for one in player.played[:2])
    assert (first["due_s"], first["action"], first["impairment"]["delay_s"]) == (0.05, "change", 0.1)
    assert (second["link"], second["source"], second["event"], second["impairment"]) == ("ab", "b", 1, None)


def test_an_event_is_told_once_however_many_changes_it_takes(shaper: FakeShaper) -> None:
    player = link_player(shaper, CHANGES, time.monotonic())
    with playing(player):
        wait(player, 4)
    assert [label for _, label in moments(player.played)] == ["ab: rtt 200ms", "ab: partition", "ab: partition"]
    both = [Played(replace(CHANGES[0], at_s=at_s), at_s) for at_s in (1.0, 1.1, 1.2)]
    ends = Played(replace(CHANGES[0], label="ab: rtt 200ms ends"), 2.0)
    assert moments([*both, ends, both[0]]) == [
        (1.0, "ab: rtt 200ms"),
        (2.0, "ab: rtt 200ms ends"),
        (1.0, "ab: rtt 200ms"),
    ]


def test_nothing_happens_after_the_end(shaper: FakeShaper) -> None:
    late = [replace(change, at_s=60.0) for change in CHANGES]
    player = link_player(shaper, late, time.monotonic())
    with playing(player):
        pass
    assert player.played == ()


def test_a_failure_ends_the_playing_and_is_raised(shaper: FakeShaper) -> None:
    unknown = replace(CHANGES[0], target="c")
    player = link_player(shaper, [unknown, *CHANGES], time.monotonic())
    with playing(player):
        time.sleep(0.3)
        with pytest.raises(LinkFailure, match="no link from a to c"):
            player.check()
    assert player.played == ()
