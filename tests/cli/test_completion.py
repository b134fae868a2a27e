"""Completion in a real shell, and help that names what there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner, Result

from harness.cli.main import COMMANDS, SECTIONS, cli

ROOT = Path(__file__).parents[2]


def complete(line: str, cwd: Path = ROOT) -> list[str]:
    """What a real bash offers for the last word of the line, after `eval "$(harness completion bash)"`."""
    script = f"""
set -eu
eval "$(harness completion bash)"
complete -p harness > /dev/null
COMP_WORDS=({line})
[[ {line!r} == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_harness_completion harness
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_in_a_real_bash() -> None:
    assert complete("harness re") == ["resume", "report"]
    assert complete("harness run --ret") == ["--retries"]
    assert "scenarios/quickstart.yaml" in complete("harness run scenarios/q")
    assert complete("harness run scenarios/quickstart.yaml --system ") == ["rabbitmq", "amqp1"]
    assert complete("harness run scenarios/quickstart.yaml --runtime f") == ["fake"]
    assert complete("harness completion z") == ["zsh"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_a_script_that_asks_the_command(shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None
    assert "_HARNESS_COMPLETE" in kind(cli, {}, "harness", "_HARNESS_COMPLETE").source()


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="harness")


def test_help_lists_every_command_by_purpose() -> None:
    text = ask("--help").output
    for title, section in SECTIONS.items():
        assert f"\n{title}:\n" in text
        for name in section:
            assert f"\n  {name} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = ask(command, "--help")
    assert done.exit_code == 0
    assert len(done.output.splitlines()) > 5


def test_a_misspelt_command_is_recognised() -> None:
    done = ask("comprae")
    assert done.exit_code == 2
    assert "Did you mean compare?" in done.output
