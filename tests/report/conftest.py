"""A made run, its findings and its page; and a real browser to look at the page with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from harness.report.compare_page import compare_runs
from harness.report.examine import examine
from harness.report.findings import Findings
from harness.report.run_page import run_page
from harness.store.run import load_run
from tests.store.made import Made, make_run

MADE = Made(seconds=20, fail=3, lose=2, double=1)


@pytest.fixture(scope="session")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return examine(load_run(make_run(tmp_path_factory.mktemp("results"), MADE)))


@pytest.fixture(scope="session")
def page_path(findings: Findings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(run_page(findings), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def compare_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("compared")
    run = make_run(directory, Made(seconds=4, repetitions=3, run_spread=0.03))
    return compare_runs([run], into=directory).html


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The page of a run of eight systems with long names, and its comparison."""
    names = tuple(f"oslo.messaging-14.{at}.3-behind-a-central-broker" for at in range(8))
    made = Made(seconds=3, warmup_s=1, rate=20, repetitions=2, systems=names, run_spread=0.03, stand_in=False)
    directory = tmp_path_factory.mktemp("crowded")
    run = make_run(directory, made)
    path = directory / "report.html"
    path.write_text(run_page(examine(load_run(run))), encoding="utf-8")
    return path, compare_runs([run], into=directory).html


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium with a profile of its own, offline."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()
