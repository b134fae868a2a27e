"""`harness calibrate`: how often the memory verdict is right on this host."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
import yaml

from harness.cli.progress import make_observer
from harness.errors import BadInput
from harness.files import scenario_from_text
from harness.lab.run import RunSettings, run_scenario
from harness.memory.calibration import SETTINGS, Calibration, Setting, scenario_of, tally
from harness.memory.host_calibration import calibration_path, keep_calibration, read_calibration
from harness.memory.result import MemoryResult
from harness.memory.stored import stored_results
from harness.report.calibration import calibration_table
from harness.report.markdown import table_markdown
from harness.report.terminal import print_table
from harness.store.host import host_facts
from harness.store.layout import utc_now
from harness.store.run import load_run

__all__ = ["SYSTEMS", "calibrate"]

#: What can be calibrated: bus and stack, the runtime it needs, and the settings measured, all if empty. Real clients
#: take their time, and leaks are made by the agent, not by the client: there the false alarms are what matters.
SYSTEMS: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "loopback": ({"bus": {"kind": "loopback"}, "stack": "loopback"}, "fake", ()),
    "rabbit": (
        {"bus": {"kind": "rabbitmq", "at": "here"}, "stack": "oslo-14.7.3-rabbit"},
        "local",
        ("clean",),
    ),
    "amqp1": ({"bus": {"kind": "router", "at": "here"}, "stack": "oslo-14.7.3-amqp1"}, "local", ("clean",)),
}


@click.command()
@click.option("--system", "systems", multiple=True, type=click.Choice(list(SYSTEMS)), help="Default: loopback.")
@click.option("--checks", type=click.IntRange(1, 1000), default=5, show_default=True, help="Checks per setting.")
@click.option(
    "--setting",
    "named",
    multiple=True,
    metavar="NAME[=CHECKS]",
    help="Only this setting, with so many checks; may be repeated.",
)
@click.option("--repetitions", type=click.IntRange(2, 100), default=3, show_default=True, help="Processes per check.")
@click.option(
    "--update", is_flag=True, help="Add to what is kept (and to the report) instead of replacing it: for long ones."
)
@click.option("--keep/--no-keep", default=True, help="Keep it as this host's calibration, which verdicts quote.")
@click.option("--report", type=click.Path(path_type=Path), help="Directory for calibration.json and calibration.md.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Results directory."
)
def calibrate(
    systems: tuple[str, ...],
    checks: int,
    named: tuple[str, ...],
    repetitions: int,
    update: bool,
    keep: bool,
    report: Path | None,
    results: Path,
) -> None:
    """Measure how often the memory verdict is right on this host, with leaks made on purpose.

    A check is a dose in fresh processes and its verdict. The share of false alarms and of leaks found is given with
    exact bounds, and every later verdict on this host quotes it.
    """
    started = time.monotonic()
    wanted = _settings(named, checks)
    kept = report / "calibration.json" if report is not None else calibration_path()
    before = read_calibration(kept) if update else None
    # Asked before anything is measured: it takes minutes.
    if before is not None and (why := before.refusal(host_facts(), repetitions)):
        remedy = "without --update it is replaced; or remove it, or add to another with --report"
        raise BadInput(f"cannot be added to: {why}", where=str(kept), remedy=remedy)
    found: dict[str, MemoryResult] = {}
    for system in systems or ("loopback",):
        spec, runtime, only = SYSTEMS[system]
        chosen = [(setting, number) for setting, number in wanted if not only or setting.name in only]
        data = scenario_of(chosen, system=spec, repetitions=repetitions)
        loaded = scenario_from_text(yaml.safe_dump(data, sort_keys=False), f"calibrate {system}")
        settings = RunSettings(results=results, runtime=runtime, command=("harness", *sys.argv[1:]))
        with make_observer(False) as observer:
            path = run_scenario(loaded, settings, observer)
        for _, result in stored_results(load_run(path)):
            found[system] = result
    load = os.getloadavg()[1] / (os.cpu_count() or 1)
    calibration = Calibration(utc_now(), host_facts(), repetitions, tuple(tally(found, SETTINGS, round(load, 2))))
    # Read again: another calibration, of other settings, may have added to it in the meantime.
    if update and (before := read_calibration(kept)) is not None:
        calibration = before.updated(calibration)
    table = calibration_table(calibration)
    print_table(table)
    click.echo(calibration.sentence())
    click.echo(f"{time.monotonic() - started:.0f} s")
    if keep:
        keep_calibration(calibration, calibration_path())
        click.echo(f"kept: {calibration_path()}")
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        (report / "calibration.json").write_text(json.dumps(calibration.to_json(), indent=1) + "\n", encoding="utf-8")
        (report / "calibration.md").write_text(
            "\n".join(
                ["# How often the memory verdict is right", "", calibration.sentence(), "", table_markdown(table)]
            )
            + "\n",
            encoding="utf-8",
        )


def _settings(named: tuple[str, ...], checks: int) -> list[tuple[Setting, int]]:
    if not named:
        return [(setting, checks) for setting in SETTINGS]
    known = {setting.name: setting for setting in SETTINGS}
    chosen = []
    for text in named:
        name, _, number = text.partition("=")
        if name not in known or (number and not number.isdigit()):
            raise BadInput(f"no setting {text!r}", where="--setting", expected="one of: " + ", ".join(known))
        chosen.append((known[name], int(number or checks)))
    return chosen
