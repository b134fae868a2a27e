"""The command as a user meets it: answers, exit codes, and never a traceback for what a user can cause."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.cli.main import main

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))
TOPOLOGIES = sorted((ROOT / "topologies").glob("*.yaml"))


def environment(state: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(state), "COLUMNS": "100"}


def harness(*arguments: str | Path, cwd: Path = ROOT, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(state) if state else None,
    )
    assert "Traceback" not in done.stderr
    return done


def test_help_names_every_command() -> None:
    text = harness("--help").stdout
    for command in ("run", "validate", "plan", "schema", "report", "links", "cleanup"):
        assert f"\n  {command}" in text


def test_every_shipped_file_is_valid() -> None:
    done = harness("validate", *SCENARIOS, *TOPOLOGIES)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(SCENARIOS) + len(TOPOLOGIES) > 20


def test_validate_shows_the_faults_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nsites: [x]\nlinks: {l: {between: [x, y], rtt: 5}}\n")
    (tmp_path / "b.yaml").write_text("nonsense: true\n")
    done = harness("validate", "a.yaml", "b.yaml", "c.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "a.yaml:3: links.l.rtt: 5 has no unit" in done.stderr
    assert "b.yaml:1: nonsense: unknown key" in done.stderr
    assert "c.yaml: cannot be read" in done.stderr


def test_a_topology_with_a_misspelt_key_is_judged_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nsitse: [x]\n")
    assert "did you mean: sites?" in harness("validate", "a.yaml", cwd=tmp_path).stderr


def test_plan_is_whole_and_json_is_the_same_plan() -> None:
    text = harness("plan", "scenarios/quickstart.yaml").stdout
    cells = json.loads(harness("plan", "scenarios/quickstart.yaml", "--json").stdout)
    assert {cell["id"] for cell in cells} == {"rabbitmq-r1", "amqp1-r1"}
    for cell in cells:
        for node in cell["lab"]["nodes"]:
            assert node["name"] in text
            assert node["address"] in text
        for agent in cell["agents"]:
            assert agent["name"] in text
    assert "160ms there and back" in text


def test_one_parameter_scales_a_scenario_and_any_value_can_be_set() -> None:
    scaled = ("--set", "scale=3", "--set", "links.core-edge.rtt=50ms", "--set", "load={warmup: 1s, duration: 9s}")
    cells = json.loads(harness("plan", "scenarios/tc2.yaml", "--system", "amqp1", *scaled, "--json").stdout)
    assert sorted(len(cell["agents"]) for cell in cells) == [6, 12, 24, 48, 96, 192]
    assert {pair["floor_s"] for cell in cells for pair in cell["pairs"]} == {0.05}
    assert cells[0]["phases"] == {"warmup_s": 1.0, "duration_s": 9.0, "drain_s": 10.0}


@pytest.mark.parametrize("kind", ["scenario", "topology"])
def test_schema_is_a_json_schema(kind: str) -> None:
    schema = json.loads(harness("schema", kind).stdout)
    assert schema["type"] == "object"
    assert "name" in schema["required"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nonsense"], 2, "No such command"),
        (["run"], 2, "Missing argument"),
        (["run", "no-such-file.yaml"], 2, "cannot be read"),
        (["run", "scenarios"], 2, "cannot be read"),
        (["plan", "scenarios/quickstart.yaml", "--system", "kafka"], 2, "no system 'kafka'"),
        (["plan", "scenarios/tc1.yaml", "--set", "scale"], 2, "does not say what becomes what"),
        (["plan", "scenarios/tc1.yaml", "--set", "workload.call.rate=2/s"], 2, "--set workload.call.rate"),
        (["plan", "scenarios/tc1.yaml", "--set", "scale=0"], 2, "at least 1"),
        (["plan", "scenarios/tc1.yaml", "--set", "scale=1\nx: 2"], 2, "more than one value"),
        (["run", "scenarios/loopback.yaml", "--runtime", "moon"], 2, "no runtime 'moon'"),
        (["run", "scenarios/loopback.yaml", "--runtime", "fake", "--links", "string"], 2, "no link backend"),
        (["run", "scenarios/quickstart.yaml", "--runtime", "fake"], 2, "fake runtime has no network"),
        (["report", "no-such-run"], 2, "no-such-run"),
        (["report", "results/examples/quickstart", "--into", "/proc/nowhere"], 2, "the report cannot be written"),
        (["compare", "results/examples/quickstart", "--into", "/proc/nowhere"], 2, "the report cannot be written"),
        (["resume", "no-such-run"], 2, "no result here"),
        (["links", "probe", "scenarios/quickstart.yaml"], 2, "unknown key"),
        (["report", "x" * 300], 2, "File name too long"),
        (["compare", "x" * 300], 2, "File name too long"),
        (["resume", "x" * 300], 2, "File name too long"),
        (["gate", "x" * 300], 2, "File name too long"),
        (["report", "res\udce9"], 2, r"res\udce9: the path is not UTF-8 text"),
    ],
)
def test_bad_arguments_get_an_answer(
    arguments: Sequence[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if arguments[0] == "run":
        arguments = [*arguments, "--results", str(tmp_path)]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == code, said
    assert says in said
    assert not list(tmp_path.glob("*/*")), "a run that cannot start leaves no result"


@pytest.mark.parametrize("results", ["/proc/nowhere", "/tmp/res\udce9"])
def test_results_that_cannot_be_written_are_found_before_anything_is_built(results: str, tmp_path: Path) -> None:
    done = harness("run", "scenarios/loopback.yaml", "--runtime", "fake", "--results", results, state=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "building" not in done.stdout
    assert "directory" in done.stderr


def test_a_host_on_which_nothing_can_be_noted_is_told_of(tmp_path: Path) -> None:
    done = harness(
        "run", "scenarios/loopback.yaml", "--runtime", "fake", "--results", tmp_path, state=Path("/proc/nowhere")
    )
    assert done.returncode == 3, done.stderr
    assert "XDG_STATE_HOME" in done.stderr


def _main_with(raised: str, **environ: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import importlib
m = importlib.import_module("harness.cli.main")
@m.click.command(cls=m._Lazy, invoke_without_command=True)
def bad():
    raise {raised}
m.cli = bad
m.main()
"""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environ}
    )


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        ("KeyError('y')", 70, "internal error: KeyError: 'y' (<string>:6); HARNESS_DEBUG=1 shows"),
        ("BrokenPipeError(32, 'Broken pipe')", 70, "internal error: BrokenPipeError"),
        ("OSError(28, 'full', '/some/file')", 3, "/some/file: No space left on device"),
        ("OSError(36, 'long', '/some/file')", 2, "/some/file: cannot be used: File name too long"),
    ],
)
def test_a_fault_of_the_harness_is_never_a_regression(raised: str, code: int, says: str) -> None:
    done = _main_with(raised)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in _main_with(raised, HARNESS_DEBUG="1").stderr


def test_a_reader_who_has_seen_enough_is_no_failure() -> None:
    shell = f"{sys.executable} -m harness plan scenarios/quickstart.yaml --json; echo $? >&2"
    process = subprocess.Popen(["sh", "-c", shell], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == "0\n"
    process.wait()
    process.stderr.close()


def test_links_are_measured_and_judged_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "name: two\nsites: [a, b]\nlinks:\n"
        "  up: {from: a, to: b, delay: 10ms, rate: 20mbit}\n  down: {from: b, to: a, delay: 10ms, loss: 20%}\n"
    )
    done = harness("links", "probe", path, "--count", "60", "--throughput", "1", state=tmp_path / "s")
    titles, up, down = done.stdout.splitlines()[:3]
    assert all(word in titles for word in ("min", "p50", "p99", "loss (declared)", "Mbit/s (declared)"))
    assert re.match(r"up +a -> b +20.* ms +2\d\.\d+ ms .*% \(20.00%\) +\d+\.\d \(20\)  ", up)
    assert re.match(r"down +b -> a .*% \(20.00%\) +\d+\.\d \(-\)  ", down)
    assert done.returncode == (3 if "off: " in up + down else 0)
    assert "is not in the range" in harness("links", "probe", path, "--count", "0").stderr


def test_a_run_from_start_to_report(tmp_path: Path) -> None:
    """The whole pipeline, quickest way: loopback agents on the fake runtime."""
    patient = ("--set", "load.drain=60s")  # a machine that may be busy
    done = harness(
        "run", "scenarios/loopback.yaml", "--runtime", "fake", *patient, "--results", tmp_path, state=tmp_path / "s"
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "loopback").iterdir()
    assert "every message arrived exactly once" in " ".join(done.stdout.split())
    assert (run / "report.html").stat().st_size > 10_000
    again = harness("resume", run, state=tmp_path / "s")
    assert again.returncode == 0, again.stderr
    assert "nothing is left to run" in again.stdout
    assert harness("cleanup", "--dry-run", state=tmp_path / "s").stdout == "nothing to remove\n"


def test_progress_for_machines_is_json_lines(tmp_path: Path) -> None:
    done = harness(
        "run", "scenarios/loopback.yaml", "--runtime", "fake", "--results", tmp_path, "--json", state=tmp_path / "s"
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "result"
    assert {"plan", "phase", "tick", "cell_ended"} <= set(kinds)
    ticks = [event for event in events if event["event"] == "tick"]
    assert [tick["done"] for tick in ticks] == sorted(tick["done"] for tick in ticks)
    assert 0 < ticks[-1]["done"] <= ticks[-1]["due"]


def _start_run(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "harness", "run", "scenarios/loopback.yaml"),
            *("--runtime", "fake", "--results", str(tmp_path), "--json"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path / "state"),
    )
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "tick" and event["t_s"] > 1.5:
            return process
    raise AssertionError(process.stderr.read() if process.stderr else "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_it_recorded(number: signal.Signals, tmp_path: Path) -> None:
    from harness import load_run

    process = _start_run(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what was recorded is kept" in errors
    assert "Traceback" not in errors
    run = load_run(next((tmp_path / "loopback").iterdir()))
    assert run.state == "interrupted"
    assert len(run.operations(cells=run.shown, warmup=True)) > 50
    assert run.latency.empty, "what was cut short is kept, but counts for nothing"
    assert harness("cleanup", "--dry-run", state=tmp_path / "state").stdout == "nothing to remove\n"


def test_what_a_killed_run_left_is_cleaned_up(tmp_path: Path) -> None:
    from harness import load_run

    process = _start_run(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    time.sleep(0.5)
    assert load_run(next((tmp_path / "loopback").iterdir())).state == "unfinished"
    shown = harness("cleanup", "--dry-run", state=tmp_path / "state").stdout
    scratch = [Path(line.rpartition(": ")[2]) for line in shown.splitlines()]
    assert scratch
    assert all(path.is_dir() for path in scratch)
    assert harness("cleanup", state=tmp_path / "state").returncode == 0
    assert not any(path.exists() for path in scratch)
    assert harness("cleanup", state=tmp_path / "state").stdout == "nothing to remove\n"


@pytest.mark.parametrize("arguments", [["links", "probe", "topologies/{}"], ["doctor"]], ids=lambda words: words[0])
def test_what_a_killed_look_at_the_machine_left_is_cleaned_up(arguments: list[str], tmp_path: Path) -> None:
    words = [word.format(TOPOLOGIES[0].name) for word in arguments]
    labs = tmp_path / "state" / "femdc-harness" / "labs"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment(tmp_path / "state"), "TMPDIR": str(scratch)},
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and len(list(labs.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None
    process.kill()
    process.wait()
    (labs / "femdc-half.tmp").write_text("{")
    os.utime(labs / "femdc-half.tmp", (0, 0))
    recorded = {json.loads(path.read_text())["scratch"] for path in labs.glob("*.json")}
    assert {str(path) for path in scratch.iterdir()} <= recorded
    assert harness("cleanup", state=tmp_path / "state").returncode == 0
    assert not list(scratch.iterdir())
    assert not list(labs.iterdir())
