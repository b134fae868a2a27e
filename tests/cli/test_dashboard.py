"""The live view: what it shows, at any width, and that a real terminal gets it."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from rich.live import Live

from harness.cli.dashboard import LiveView, left_text, target_rate, upcoming
from harness.cli.progress import JsonLines, PlainLines
from harness.files import load_scenario, plan_run, scenario_from_text
from harness.lab.observer import Observer, Tick
from harness.lab.pace import Standing

ROOT = Path(__file__).parents[2]
CELLS = plan_run(load_scenario(ROOT / "scenarios" / "unsteady-link.yaml"))
TICK = Tick(
    t_s=33.0,
    of_s=60.0,
    due=660,
    sent=660,
    done=655,
    failed=5,
    rate_per_s=18.5,
    p50_s=0.0213,
    p99_s=1.5,
    memory_bytes={"client": 40 << 20, "server": 35 << 20, "bus": 130 << 20},
)


def watch(observer: Observer) -> None:
    """A run of two cells: one failed once, the other is under load while its link is cut."""
    observer.plan("20260101T000000Z-abcd", CELLS)
    observer.phase(CELLS[0].id, "starting rabbitmq")
    observer.retry(CELLS[0].id, "broker-core: it ended with 1", 1)
    observer.cell_ended(CELLS[0].id, "valid", [])
    observer.standing(Standing(1, 2, 0, 1, 100.0, 95.0, False))
    observer.phase(CELLS[1].id, "load")
    observer.links(CELLS[1].id, {("core", "edge-a"): 0.0203, ("edge-a", "core"): 0.0203})
    observer.tick(CELLS[1].id, TICK)


def seen(width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, height=60, force_terminal=True, color_system=None, legacy_windows=False)
    view = LiveView(Live(console=console, auto_refresh=False))
    watch(view)
    console.print(view)
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 100, 160])
def test_it_shows_what_is_asked_while_a_run_goes_on(width: int) -> None:
    text = seen(width)
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())  # a narrow terminal breaks lines
    for part in (
        "1 of 2 cells",
        "1 run again",
        "about 1 min 35 s left",
        "broker-core: it ended with 1",
        "core - edge-a",
        "cut",
        "measured 20.3 ms",
        "18 of 20/s",
        "21.3 ms",
        "1500.0 ms",
        "errors",
        "130 MiB",
        "to come",
        "in 4 s",
    ):
        assert part in flat, f"{part} not in\n{text}"


def test_events_to_come_and_targets() -> None:
    assert target_rate(CELLS[0]) == 20
    times = [at for at, _ in upcoming(CELLS[0], 36.0)]
    assert times == sorted(times)
    assert min(times) == 37.0
    assert upcoming(CELLS[0], 60.0) == []


def target(*schedules: str) -> list[float | None]:
    """The target at 0, 3 and 9 s of 10 s of load for a workload per schedule, each with two clients."""
    workloads = {
        f"w{number}": {"pattern": "rpc-cast", "clients": {"here": 2}, "servers": "here", **yaml.safe_load(schedule)}
        for number, schedule in enumerate(schedules)
    }
    loaded = scenario_from_text(
        yaml.safe_dump(
            {
                "name": "targets",
                "topology": {"name": "one", "sites": ["here"]},
                "systems": {"loopback": {"bus": {"kind": "loopback"}, "stack": "loopback"}},
                "workloads": workloads,
                "load": {"warmup": "2s", "duration": "8s"},
            }
        ),
        "targets.yaml",
    )
    (cell,) = plan_run(loaded)
    return [target_rate(cell, t_s) for t_s in (0.0, 3.0, 9.0)]


def test_the_target_is_that_of_the_moment() -> None:
    steps = "schedule: {steps: [{rate: 5/s, for: 2s}, {rate: 0, for: 3s}, {rate: 20/s, for: 1s}]}"
    assert target(steps) == [10, 0, 40]
    assert target("schedule: {ramp: {from: 10/s, to: 20/s, over: 4s}, arrivals: poisson}") == [20, 35, 40]
    assert target("schedule: {ramp: {from: 0/s, to: 10/s}}") == [0, 6, 18]
    assert target("schedule: {burst: {size: 10, every: 2s}}") == [10, 10, 10]
    assert target("rate: 5/s", "schedule: {burst: {size: 10, every: 2s}}", steps) == [30, 20, 60]
    assert target("rate: 5/s", "mode: closed") == [None] * 3


def test_time_left_in_words() -> None:
    def words(left_s: float, at_least: bool = False) -> str:
        return left_text(Standing(0, 1, 0, 0, 0.0, left_s, at_least))

    assert words(42) == "about 42 s left"
    assert words(60, True) == "at least 1 min 0 s left"
    assert words(3 * 3600 + 125) == "about 3 h 2 min left"


def test_plain_lines_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    watch(PlainLines())
    text = capsys.readouterr().out
    for part in ("1 of 2 cells done, about 1 min 35 s left", "18 of 20/s", "5 failed", "is run again (up to 1 more)"):
        assert part in text
    assert "\x1b" not in text


def test_progress_for_machines_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    watch(JsonLines())
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    page = (ROOT / "docs" / "progress.md").read_text()
    for event in events:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{event['event']}`")]
        for field in set(event) - {"event"}:
            assert f"`{field}`" in row, f"{field} of {event['event']}"


def test_a_real_terminal_gets_the_live_view(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "harness", "run", "scenarios/loopback.yaml"),
            *("--runtime", "fake", "--results", str(tmp_path)),
        ],
        cwd=ROOT,
        stdout=terminal,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50", "XDG_STATE_HOME": str(tmp_path)},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:  # What reading a terminal gives when its last writer has gone.
            break
        if not piece:
            break
        shown += piece
    os.close(controller)
    assert process.wait(timeout=60) == 0
    text = shown.decode(errors="replace")
    assert "sites and links" in text
    assert "of 250/s" in text
    assert "every message arrived exactly once" in " ".join(text.split())
