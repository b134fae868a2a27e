"""Commands that build stacks: they end, with all they started, when they should."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import Interrupted
from harness.stack.command import TooSlow, run_command

#: Starts a child as an installer starts compilers, notes its pid in a file, and waits.
_PARENT = "sleep 60 & echo $! > pid; echo out; echo err >&2; wait"


def _gone(pid: Path) -> bool:
    """Whether the noted process ends within a second or two; a zombie is gone."""
    deadline = time.monotonic() + 5.0
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    while time.monotonic() < deadline:
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + 20.0
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_command_that_ends_tells_how_and_what(tmp_path: Path) -> None:
    said: list[str] = []
    ended = run_command(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=30, say=said.append)
    assert (ended.status, ended.output, ended.errors, said) == (3, "out\n", ("err",), ["err"])
    assert run_command([str(tmp_path / "nothing")], timeout_s=30).status == 127


def test_what_a_slow_command_started_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TooSlow):
        run_command(["sh", "-c", f"cd {tmp_path}; {_PARENT}"], timeout_s=1.0)
    assert _gone(tmp_path / "pid")


def test_what_is_left_in_the_background_does_not_hold_it_up(tmp_path: Path) -> None:
    run_command(["sh", "-c", f"cd {tmp_path}; sleep 60 & echo $! > pid"], timeout_s=30)
    assert _gone(tmp_path / "pid")


def test_stop_ends_it(tmp_path: Path) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    with pytest.raises(Interrupted):
        run_command(["sh", "-c", f"cd {tmp_path}; {_PARENT}"], timeout_s=60, stop=stop)
    timer.join()
    assert _gone(tmp_path / "pid")


def test_it_does_not_outlive_a_killed_harness(tmp_path: Path) -> None:
    code = (
        "from harness.stack.command import run_command\n"
        f"run_command(['sh', '-c', {f'cd {tmp_path}; {_PARENT}'!r}], timeout_s=60)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as harness:
        _wait_for(tmp_path / "pid")
        harness.kill()
    assert _gone(tmp_path / "pid")
