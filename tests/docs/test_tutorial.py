"""Every command of docs/tutorial.md works, in the order it stands there, with shorter loads on a busy machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
#: What makes the tutorial take a minute here, on a machine that may be busy: its own text, and what stands instead.
SHORTER = {
    "load: {warmup: 1s, duration: 5s, drain: 3s}": "load: {warmup: 500ms, duration: 1s, drain: 3s}",
    "repetitions: 3\n": "repetitions: 1\n",
    "harness run mine.yaml": "harness run mine.yaml --lax-links",
    "harness run distance.yaml": "harness run distance.yaml --lax-links",
}


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A directory that looks like the repository, with results of its own."""
    for name in ("scenarios", "topologies"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.timeout(900)
def test_from_nothing_to_a_comparison(desk: Path) -> None:
    text = TEXT
    for long, short in SHORTER.items():
        assert long in text
        text = text.replace(long, short)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(desk / "state"),
    }
    said = ""
    for language, content in blocks(text):
        if language == "yaml":
            (desk / "mine.yaml").write_text(content, encoding="utf-8")
            continue
        lines = [line for line in content.splitlines() if not line.startswith(("make ", ". .venv"))]
        program = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*program, "\n".join(lines)], cwd=desk, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{content}\n{done.stdout[-3000:]}\n{done.stderr}"
        said += done.stdout
    assert "a scenario of 2 systems in 2 cells" in said
    assert "4 cells, at least 6s of load" in said
    assert "one repetition: it gives figures and no verdict" in " ".join(said.split())
    assert "against rabbitmq" in " ".join(said.split())


def test_what_it_promises_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
    for command in re.findall(r"`(?:harness )([a-z]+)", TEXT):
        from harness.cli.main import COMMANDS

        assert command in COMMANDS, command
