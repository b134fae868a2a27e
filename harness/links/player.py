"""Carries out a cell's link changes at their load times, and records when each really happened."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError, LinkFailure
from harness.links.protocol import LinkShaper
from harness.links.wire import impairment_to_json
from harness.plan.cell import LinkChange

__all__ = ["Played", "Player", "moments", "playing"]


@dataclass(frozen=True, slots=True)
class Played:
    """A change that was carried out.

    Attributes:
        change: what was planned.
        at_s: load time at which it took effect, seconds; the shaper says when.
    """

    change: LinkChange
    at_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: due_s and at_s (load time), link, source, target, action, impairment, event, label."""
        change = self.change
        return {
            "due_s": change.at_s,
            "at_s": self.at_s,
            "link": change.link,
            "source": change.source,
            "target": change.target,
            "action": change.action,
            "impairment": None if change.impairment is None else impairment_to_json(change.impairment),
            "event": change.event,
            "label": change.label,
        }


class Player:
    """A thread that plays changes against a shaper. A change that fails ends the playing; `check` raises it.

    Args:
        shaper: whose links are applied.
        changes: in order of time.
        start_s: CLOCK_MONOTONIC of the load's start.
    """

    def __init__(self, shaper: LinkShaper, changes: Sequence[LinkChange], start_s: float) -> None:
        self._shaper = shaper
        self._changes = tuple(changes)
        self._start_s = start_s
        self._stop = threading.Event()
        self._played: list[Played] = []
        self._failure: HarnessError | None = None
        self._thread = threading.Thread(target=self._play, name="link changes", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    @property
    def played(self) -> tuple[Played, ...]:
        """What has been carried out so far, in order."""
        return tuple(self._played)

    def check(self) -> None:
        """Raise the LinkFailure that ended the playing, if one did."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Carry out no further change; returns when the one under way is done."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _play(self) -> None:
        for change in self._changes:
            left_s = self._start_s + change.at_s - time.monotonic()
            if self._stop.wait(max(0.0, left_s)):
                return
            try:
                instant_s = self._carry_out(change)
            except HarnessError as failure:
                self._failure = failure
                return
            except Exception as error:
                self._failure = LinkFailure(
                    f"a change of the links failed: {error!r}", where=f"timeline event {change.event} ({change.label})"
                )
                return
            self._played.append(Played(change, instant_s - self._start_s))

    def _carry_out(self, change: LinkChange) -> float:
        if change.impairment is not None:
            return self._shaper.change(change.source, change.target, change.impairment)
        act = self._shaper.cut if change.action == "cut" else self._shaper.heal
        return act(change.source, change.target)


def moments(played: Sequence[Played]) -> list[tuple[float, str]]:
    """(load time, event in a few words) for people: once for all directions of an event and all steps of a ramp."""
    told: list[tuple[float, str]] = []
    latest: dict[int, str] = {}
    for one in played:
        if latest.get(one.change.event) != one.change.label:
            latest[one.change.event] = one.change.label
            told.append((one.at_s, one.change.label))
    return told


@contextlib.contextmanager
def playing(shaper: LinkShaper, changes: Sequence[LinkChange], start_s: float) -> Iterator[Player]:
    """Plays changes while the context lasts; none is carried out after it."""
    player = Player(shaper, changes, start_s)
    player.start()
    try:
        yield player
    finally:
        player.stop()
