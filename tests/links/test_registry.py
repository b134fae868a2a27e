"""Link backends of other distributions stand beside ours, but never take a name of ours."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from harness import plugins
from harness.errors import BadInput
from harness.links.fake import FakeShaper
from harness.links.registry import BUILT_IN, shapers


def other(name: str) -> EntryPoint:
    return EntryPoint(name, "harness.links.fake:FakeShaper", "femdc_harness.link_shapers")


def test_other_distributions_backends_come_after_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [other("remote")])
    assert list(shapers()) == [*BUILT_IN, "remote"]
    assert shapers()["remote"] is FakeShaper


def test_a_name_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [other("netem")])
    with pytest.raises(BadInput, match="two link backends are called 'netem'"):
        shapers()
