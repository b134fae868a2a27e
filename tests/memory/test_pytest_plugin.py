"""The fixture `client_memory` as a project uses it: in a pytest of its own, with xdist and pytest-benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

TESTS = """
import os
import threading
import time

KEPT = []
WORDS = []


class Session:
    pass


class Pool:
    def __init__(self):
        self.idle = []


POOL = Pool()
OWED = []
CALLED = [0.0]


def owe():
    # Leaves something behind that is dropped when nothing was called for a second.
    if not CALLED[0]:
        threading.Thread(target=pay, daemon=True).start()
    CALLED[0] = time.monotonic()
    OWED.append(Session())


def leak_and_owe():
    owe()
    KEPT.append(Forgotten())


class Forgotten:
    pass


def pay():
    while True:
        time.sleep(0.1)
        if time.monotonic() - CALLED[0] > 1.0:
            OWED.clear()


FEW = {"count": 40, "blocks": 7, "repetitions": 2}


def test_clean(client_memory, benchmark):
    benchmark.pedantic(lambda: sorted("leaks"), rounds=3)
    client_memory(lambda: sorted("leaks"), **FEW)


def test_leaking(client_memory):
    client_memory(lambda: KEPT.append(Session()), rest_s=0.1, **FEW)


def test_leaking_text(client_memory):
    client_memory(lambda: WORDS.append(str(len(WORDS) + 10**6)), rest_s=0.1, **FEW)


def test_pool_that_fills(client_memory):
    client_memory(lambda: len(POOL.idle) < 200 and POOL.idle.append(Session()), **FEW)


def test_backlog_that_drains_at_rest(client_memory):
    client_memory(owe, rest_s=2.0, **FEW)


def test_leak_beside_a_backlog(client_memory):
    client_memory(leak_and_owe, rest_s=2.0, **FEW)


def test_open_files(client_memory):
    client_memory(lambda: os.open(os.devnull, os.O_RDONLY), rest_s=0.1, **{**FEW, "count": 5})


def test_dying(client_memory):
    client_memory(lambda: os._exit(7), **FEW)


def test_raising(client_memory):
    client_memory(lambda: {}["nothing"], **FEW)


def test_wrong_limit(client_memory):
    client_memory(lambda: None, limits={"bricks": 1}, **FEW)
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("project")
    (directory / "test_project.py").write_text(TESTS)
    return directory, run(directory, "--junit-xml=junit.xml", "--benchmark-json=benchmark.json", "--benchmark-save=old")


def run(directory: Path, *options: str) -> str:
    """What pytest says in the project."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options, "test_project.py"],
        cwd=directory,
        env={"PYTHONPATH": str(Path.cwd()), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.stdout + done.stderr


def test_what_leaks_fails_in_the_call_phase_and_what_does_not_passes(ended: tuple[Path, str]) -> None:
    directory, output = ended
    assert "7 failed, 3 passed" in output, output
    cases = {case.get("name"): case for case in ET.parse(directory / "junit.xml").getroot().iter("testcase")}
    assert {name for name, case in cases.items() if case.find("failure") is not None} == {
        "test_leaking",
        "test_leaking_text",
        "test_leak_beside_a_backlog",
        "test_open_files",
        "test_dying",
        "test_raising",
        "test_wrong_limit",
    }
    properties = {p.get("name"): p.get("value") for p in cases["test_leaking"].iter("property")}
    assert properties["memory_state"] == "leak"
    assert float(properties["memory_blocks_per_call"] or 0) > 0.9


def test_the_failure_is_the_verdict_with_its_evidence(ended: tuple[Path, str]) -> None:
    _, output = ended
    assert "client memory: leak: blocks:" in output
    assert "one test_project.Session per operation" in output
    assert "test_project.KEPT" in output
    assert "allocated at" in output
    assert "one item per operation (a call of the function under test) kept in a list held by" in output
    assert "test_project.WORDS" in output, "the collector does not track text: what keeps it is told"
    assert "one test_project.Forgotten per operation" in output, "the backlog beside it is not what leaks"
    assert "one descriptor left open per operation (a call of the function under test): /dev/null" in output
    assert "the dosed process died (exit status 7)" in output
    assert "KeyError: 'nothing'" in output
    assert "no limit for 'bricks'" in output


def test_benchmarks_get_the_figures(ended: tuple[Path, str]) -> None:
    directory, _ = ended
    (benchmark,) = json.loads((directory / "benchmark.json").read_text())["benchmarks"]
    assert benchmark["extra_info"]["client_memory"]["state"] == "clean"


def test_benchmarks_with_the_figures_can_be_compared(ended: tuple[Path, str]) -> None:
    directory, _ = ended
    compared = ("--benchmark-compare=0001", "--benchmark-compare-fail=min:100000%")
    output = run(directory, "-k", "test_clean", "--benchmark-save=new", *compared)
    assert "1 passed" in output, output
    assert "test_clean (0001_old)" in output
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test_clean") >= 2


def test_it_works_under_xdist_also_where_benchmarks_are_off(ended: tuple[Path, str]) -> None:
    directory, _ = ended
    output = run(directory, "-n", "2", "-k", "open_files or pool or test_clean")
    assert "1 failed, 2 passed" in output, output
