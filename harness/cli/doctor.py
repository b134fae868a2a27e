"""`harness doctor`: what this machine can do, and how to get what is missing."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from pathlib import Path

import click

from harness.cli.completion import scenario_files
from harness.doctor import examine
from harness.errors import MissingCapability
from harness.files import load_scenario, plan_run
from harness.runtime.labs import temporary_files_of

__all__ = ["doctor"]

_MARK = {"ok": "ok", "note": "note", "missing": "MISSING"}


@click.command()
@click.argument("scenario", required=False, type=click.Path(path_type=Path), shell_complete=scenario_files)
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Results directory."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for machines.")
def doctor(scenario: Path | None, results: Path, as_json: bool) -> None:
    """Find out, by trying, what this machine can do (for SCENARIO), and say how to get what is missing.

    Ends with 0 if one of the runtimes local and docker can be used, else with 3.
    """
    cells = plan_run(load_scenario(scenario)) if scenario else ()
    with temporary_files_of(f"doctor-{secrets.token_hex(3)}"):
        findings = examine(cells, where=results)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{_MARK[finding.state]:<8} {finding.what:<24} {finding.detail}")
            if finding.remedy:
                click.echo(f"{'':<8} {'':<24} -> {finding.remedy}")
    usable = [finding for finding in findings if finding.what.startswith("runtime ") and finding.state == "ok"]
    if not usable:
        raise MissingCapability("no runtime but fake can be used here", remedy="see above for each of them")
    short = [finding for finding in findings if finding.what == "memory" and finding.state == "missing"]
    if short:
        raise MissingCapability(f"not enough memory: {short[0].detail}", remedy=short[0].remedy)
