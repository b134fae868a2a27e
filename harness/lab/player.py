"""Carries out a cell's changes at their load times, and records when each really happened."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from harness.errors import HarnessError, InfrastructureFailure, LinkFailure
from harness.links.protocol import LinkShaper
from harness.links.wire import impairment_to_json
from harness.plan.cell import LinkChange

__all__ = ["Change", "Played", "Player", "link_event", "link_player", "moments", "playing"]


class Change(Protocol):
    """What can be played: a change of a link's direction, or of a process."""

    @property
    def at_s(self) -> float:
        """Load time at which it is to happen, seconds."""

    @property
    def event(self) -> int:
        """Index of its event in the scenario's timeline."""

    @property
    def label(self) -> str:
        """What it is in a few words."""


ChangeT = TypeVar("ChangeT", bound=Change)


@dataclass(frozen=True, slots=True)
class Played(Generic[ChangeT]):
    """A change that was carried out.

    Attributes:
        change: what was planned.
        at_s: load time at which it took effect, seconds.
    """

    change: ChangeT
    at_s: float


class Player(Generic[ChangeT]):
    """A thread that plays changes. One that fails ends the playing; `check` raises it.

    Args:
        changes: in order of time.
        carry_out: does a change and returns when it took effect, CLOCK_MONOTONIC seconds.
        start_s: CLOCK_MONOTONIC of the load's start.
    """

    def __init__(self, changes: Sequence[ChangeT], carry_out: Callable[[ChangeT], float], start_s: float) -> None:
        self._changes = tuple(changes)
        self._carry_out = carry_out
        self._start_s = start_s
        self._stop = threading.Event()
        self._played: list[Played[ChangeT]] = []
        self._failure: HarnessError | None = None
        self._thread = threading.Thread(target=self._play, name="changes", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    @property
    def played(self) -> tuple[Played[ChangeT], ...]:
        """What has been carried out so far, in order."""
        return tuple(self._played)

    def check(self) -> None:
        """Raise the failure that ended the playing, if one did."""
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
                self._failure = InfrastructureFailure(
                    f"{change.label}: it could not be done: {error!r}", where=f"timeline event {change.event + 1}"
                )
                return
            self._played.append(Played(change, instant_s - self._start_s))


def link_player(shaper: LinkShaper, changes: Sequence[LinkChange], start_s: float) -> Player[LinkChange]:
    """A player of link changes against a shaper whose links are applied; the shaper says when each took effect."""

    def carry_out(change: LinkChange) -> float:
        try:
            if change.impairment is not None:
                return shaper.change(change.source, change.target, change.impairment)
            act = shaper.cut if change.action == "cut" else shaper.heal
            return act(change.source, change.target)
        except (OSError, RuntimeError, LookupError, ValueError) as error:
            where = f"timeline event {change.event + 1} ({change.label})"
            raise LinkFailure(f"a change of the links failed: {error!r}", where=where) from error

    return Player(changes, carry_out, start_s)


def link_event(played: Played[LinkChange]) -> dict[str, Any]:
    """Plain JSON: due_s and at_s (load time), link, source, target, action, impairment, event, label."""
    change = played.change
    return {
        "due_s": change.at_s,
        "at_s": played.at_s,
        "link": change.link,
        "source": change.source,
        "target": change.target,
        "action": change.action,
        "impairment": None if change.impairment is None else impairment_to_json(change.impairment),
        "event": change.event,
        "label": change.label,
    }


def moments(played: Sequence[Played[ChangeT]]) -> list[tuple[float, str]]:
    """(load time, event in a few words) for people: once for all directions of an event and all steps of a ramp."""
    told: list[tuple[float, str]] = []
    latest: dict[int, str] = {}
    for one in played:
        if latest.get(one.change.event) != one.change.label:
            latest[one.change.event] = one.change.label
            told.append((one.at_s, one.change.label))
    return told


@contextlib.contextmanager
def playing(*players: Player[ChangeT]) -> Iterator[None]:
    """Players play while the context lasts; nothing is carried out after it."""
    with contextlib.ExitStack() as scope:
        for player in players:
            scope.callback(player.stop)
            player.start()
        yield
