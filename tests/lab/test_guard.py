"""Links that fail are noticed wherever the cell is, and what would wait for them is ended."""

from __future__ import annotations

import threading

import pytest

from harness.errors import LinkFailure
from harness.lab.guard import LinkGuard


class Links:
    """Shaped until they fail."""

    def __init__(self) -> None:
        self.failed = False
        self.looked = threading.Event()

    def check(self) -> None:
        self.looked.set()
        if self.failed:
            raise LinkFailure("the emulator has ended")


def test_links_that_hold_end_nothing() -> None:
    links, ended = Links(), threading.Event()
    with LinkGuard(links.check, every_s=0.01) as guard, guard.ending(ended.set):
        assert links.looked.wait(5)
        guard.check()
    assert not ended.is_set()


def test_what_waits_is_ended_when_links_fail() -> None:
    links, ended = Links(), threading.Event()
    with LinkGuard(links.check, every_s=0.01) as guard:
        with guard.ending(ended.set):
            links.failed = True
            assert ended.wait(5)
        links.failed = False
        with pytest.raises(LinkFailure):
            guard.check()
        late = threading.Event()
        with guard.ending(late.set):
            assert late.is_set(), "what begins to wait after the links failed is ended too"


def test_a_check_does_not_wait_for_the_next_look() -> None:
    links = Links()
    with LinkGuard(links.check, every_s=60) as guard:
        links.failed = True
        with pytest.raises(LinkFailure):
            guard.check()


def test_what_no_longer_waits_is_left_alone() -> None:
    links, ended = Links(), threading.Event()
    with LinkGuard(links.check, every_s=0.01) as guard:
        with guard.ending(ended.set):
            pass
        links.failed = True
        links.looked.clear()
        assert links.looked.wait(5)
    assert not ended.is_set()
