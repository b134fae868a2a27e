"""What README.md says it found is what the committed run shows, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import load_run
from harness.cli.main import COMMANDS
from harness.report import numbers
from harness.report.examine import examine
from harness.report.findings import Findings
from harness.report.plots.floors import floor_plots

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def findings() -> Findings:
    return examine(load_run(ROOT / "results" / "examples" / "quickstart"))


def test_every_figure_is_that_of_the_example(findings: Findings) -> None:
    told: dict[tuple[str, str], str] = {}
    for row in re.findall(r"^\| (edge-\w) to (core|the server next door) \| (.*) \|$", TEXT, re.MULTILINE):
        client, server, figures = row
        for system, pair in zip(("rabbitmq", "amqp1"), re.findall(r"(\S+ ms) \| (\S+ ms)", figures), strict=True):
            told[system, f"{client} to {client if server != 'core' else server}"] = " | ".join(pair)
    measured = {
        (f.system.label, f"{f.pair.client_site} to {f.pair.server_site}"): (
            f"{numbers.ms(f.floor_ms)} ms | {numbers.ms(f.headline.p50_ms)} ms"
        )
        for f in findings.pairs
        if f.round_trip
    }
    assert told == measured


def test_the_picture_is_that_of_the_example(findings: Findings) -> None:
    picture = (ROOT / "docs" / "floors.svg").read_text(encoding="utf-8")
    assert "docs/floors.svg" in TEXT
    assert f">{floor_plots(findings)[0].description}</desc>" in picture


def test_what_it_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target
    commands = re.findall(r"^harness (\w+)", TEXT, re.MULTILINE)
    assert set(commands) <= set(COMMANDS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([\w-]+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE) or target == "and", target


def test_what_it_says_of_leaks_is_in_the_committed_reports() -> None:
    memory = ROOT / "results" / "memory"
    calibration = (memory / "calibration.md").read_text(encoding="utf-8")
    clean, found = re.findall(r"(\d+ of \d+) clean checks .*?(\d+ of\s\d+) leaks of twice", TEXT, re.DOTALL)[0]
    assert f"{clean} clean checks were called a leak" in calibration
    assert f"{' '.join(found.split())} leaks of twice the limit were found" in calibration
    rows = re.findall(
        r"^\| (\S+) \| \S+ \| (leaks|never leaked|mended) \| (\w+) \|  \| (\d+)?",
        (memory / "historical.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    right = [(known == "leaks") == (verdict == "leak") for _, known, verdict, _ in rows]
    assert f"{sum(right)} of {len(right)}" in TEXT
    blocks = {(stack, int(number)) for stack, _, verdict, number in rows if verdict == "leak"}
    told = re.findall(r"^\| (\S+) (\d\S+)( alone)? .*\| (\d+) blocks", TEXT, re.MULTILINE)
    assert told
    for name, release, alone, number in told:
        library = alone.strip() or name.removeprefix("python-qpid-").removeprefix("py-").removesuffix(".messaging")
        stack = f"{library}-{release.replace('.', '-')}"
        assert (stack, int(number)) in blocks
