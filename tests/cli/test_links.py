"""`harness links probe` says where it measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.links import links

TOPOLOGY = "name: two\nsites: [a, b]\nlinks: {l: {between: [a, b], rtt: 10ms}}\n"


def test_the_runtime_that_was_chosen_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    (tmp_path / "two.yaml").write_text(TOPOLOGY)
    done = CliRunner().invoke(links, ["probe", str(tmp_path / "two.yaml"), "--runtime", "auto"])
    assert done.output.startswith("runtime local: the container engine named by DOCKER_HOST does not answer")
    assert ", runtime local)" in done.output
