"""`harness run`: runs a scenario, shows how it goes, prints the answer and writes the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.cli.changes import changes_option, parse_changes
from harness.cli.progress import make_observer
from harness.cli.report import show_run
from harness.errors import Inconclusive
from harness.files import load_scenario
from harness.lab.run import RunSettings, run_scenario
from harness.store.run import load_run

__all__ = ["run"]


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--runtime",
    default="local",
    show_default=True,
    metavar="NAME",
    help="Where nodes live: docker, local or fake; auto: docker where an engine answers, else local.",
)
@click.option("--links", default="auto", show_default=True, metavar="NAME", help="Link backend: auto, netem, nfqueue.")
@click.option("--system", "systems", multiple=True, metavar="NAME", help="Only this system; may be repeated.")
@changes_option
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Results directory."
)
@click.option("--json", "as_json", is_flag=True, help="Progress as JSON lines, for machines.")
def run(
    scenario: Path,
    runtime: str,
    links: str,
    systems: tuple[str, ...],
    changes: tuple[str, ...],
    results: Path,
    as_json: bool,
) -> None:
    """Run a scenario, print the answer, write the report; all of it goes to results/SCENARIO/RUN."""
    loaded = load_scenario(scenario, parse_changes(changes))
    settings = RunSettings(
        results=results, runtime=runtime, links=links, systems=systems, command=("harness", *sys.argv[1:])
    )
    with make_observer(as_json) as observer:
        path = run_scenario(loaded, settings, observer)
    if as_json:
        click.echo(json.dumps({"event": "result", "path": str(path)}))
    else:
        show_run(path)
    unsound = [cell for cell in load_run(path).manifest.cells if cell.state in ("invalid", "degraded")]
    if unsound:
        raise Inconclusive(
            f"{len(unsound)} cells are not valid: {', '.join(f'{cell.id} ({cell.state})' for cell in unsound)}",
            where=str(path),
            remedy="the report says why; run them again, on a quieter machine if links or senders were late",
        )
