"""Events that all repetitions of a dose share happen once, and a set that fails does not hold the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.lab.disturb import Lockstep, NeverEnded


def test_an_event_happens_once_for_all_and_only_when_all_are_ready() -> None:
    step, happened = Lockstep(3), list[int]()
    ready = [0, 0, 0]

    def live(number: int) -> None:
        with step:
            for turn in range(5):
                ready[number] = turn + 1
                step.happen(lambda: happened.append(min(ready)))

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(live, number) for number in range(3)]:
            done.result(20)
    assert happened == [1, 2, 3, 4, 5]


def test_a_set_that_fails_lets_the_others_go() -> None:
    step = Lockstep(2)

    def fail() -> None:
        with step:
            raise OSError("gone")

    def wait() -> None:
        with step:
            step.happen(lambda: None)

    with ThreadPoolExecutor(2) as pool:
        waiting, failing = pool.submit(wait), pool.submit(fail)
        with pytest.raises(OSError, match="gone"):
            failing.result(20)
        with pytest.raises(NeverEnded):
            waiting.result(20)
