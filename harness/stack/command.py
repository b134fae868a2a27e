"""Runs what builds a stack: commands that may start compilers, take minutes, and must not outlive the harness."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.errors import Interrupted

__all__ = ["Ended", "TooSlow", "run_command"]

_LEASH = Path(__file__).with_name("leash.py")
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its status (128 and more: by a signal), and what it said."""

    status: int
    output: str
    errors: tuple[str, ...]


class TooSlow(Exception):
    """The command was killed because it had not ended in time."""


def run_command(
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Ended:
    """Run a command in a session of its own; all of it ends with it, with `stop`, and with this process.

    Args:
        argv: the command.
        timeout_s: longest wait for its end.
        env: its environment; this process's where None. TMPDIR is where temporary files of this process go.
        say: called with each line of its standard error, from another thread.
        stop: ends it when set, from another thread.

    Raises:
        TooSlow: it did not end in time.
        Interrupted: `stop` was set.
    """
    deadline = time.monotonic() + timeout_s
    with (
        subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LEASH), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**(os.environ if env is None else env), "TMPDIR": tempfile.gettempdir()},
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
        ThreadPoolExecutor(max_workers=2) as readers,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        errors = readers.submit(_follow, process.stderr, say or (lambda _line: None))
        output = readers.submit(process.stdout.read)
        try:
            while (status := _wait(process)) is None:
                if stop is not None and stop.is_set():
                    raise Interrupted("stopped while a stack was being built")
                if time.monotonic() > deadline:
                    raise TooSlow
        finally:
            # Readers would wait for ever for a pipe that what it started holds open.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return Ended(status, output.result(), tuple(errors.result()))


def _wait(process: subprocess.Popen[str]) -> int | None:
    try:
        return process.wait(_LOOK_S)
    except subprocess.TimeoutExpired:
        return None


def _follow(stream: Iterable[str], say: Callable[[str], None]) -> list[str]:
    lines = []
    for line in stream:
        if line.strip():
            lines.append(line.rstrip())
            say(line.strip())
    return lines
