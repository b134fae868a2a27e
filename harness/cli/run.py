"""`harness run` and `harness resume`: run a scenario, show how it goes, print the answer, write the report.

What carries a run out is imported when it is, so that help and completion answer at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import completion
from harness.cli.changes import changes_option, parse_changes
from harness.errors import CellsFailed, Inconclusive

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lab.observer import Observer

__all__ = ["resume", "run"]

_RETRIES = click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="How often a cell is run again that the machine, the lab, a bus or an agent let down, or whose links were "
    "off; the report lists them. Not one whose link emulator died.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Progress as JSON lines, for machines.")


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path), shell_complete=completion.scenario_files)
@click.option(
    "--runtime",
    default="local",
    show_default=True,
    metavar="NAME",
    shell_complete=completion.runtimes,
    help="Where nodes live: docker, local or fake; auto: docker where an engine answers, else local.",
)
@click.option(
    "--links",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=completion.link_backends,
    help="Link backend: auto, netem, nfqueue.",
)
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.systems,
    help="Only this system; may be repeated.",
)
@changes_option
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Results directory."
)
@_RETRIES
@click.option(
    "--lax-links",
    is_flag=True,
    help="Accept links slower than declared, and late packets, of a busy machine; the report says so first.",
)
@_JSON
def run(
    scenario: Path,
    runtime: str,
    links: str,
    systems: tuple[str, ...],
    changes: tuple[str, ...],
    results: Path,
    retries: int,
    lax_links: bool,
    as_json: bool,
) -> None:
    """Run a scenario, print the answer, write the report; all of it goes to results/SCENARIO/RUN.

    A scenario with a sweep or repetitions is a campaign of many cells: it can be stopped (Ctrl-C, even kill -9) and
    goes on with `harness resume`. A cell that fails does not stop the others.
    """
    from harness.files import load_scenario
    from harness.lab.run import RunSettings, run_scenario

    loaded = load_scenario(scenario, parse_changes(changes))
    settings = RunSettings(
        results=results,
        runtime=runtime,
        links=links,
        systems=systems,
        command=("harness", *sys.argv[1:]),
        retries=retries,
        lax_links=lax_links,
    )
    _carry_out(lambda observer: run_scenario(loaded, settings, observer), as_json)


@click.command()
@click.argument("run", type=click.Path(path_type=Path), shell_complete=completion.results)
@_RETRIES
@click.option(
    "--invalid", is_flag=True, help="Run invalid cells again too, e.g. because links were late; they are listed."
)
@_JSON
def resume(run: Path, retries: int, invalid: bool, as_json: bool) -> None:
    """Go on with a run that was interrupted, killed, or has failed cells.

    RUN is a run's directory, or a scenario's for its newest run. Cells that are done are kept; what was under way when
    the run was stopped is run again. It must be the machine and the harness the run began with. A run that is whole is
    shown.
    """
    from harness.lab.run import resume_run

    _carry_out(lambda observer: resume_run(run, observer, retries=retries, invalid=invalid), as_json)


def _carry_out(work: Callable[[Observer], Path], as_json: bool) -> None:
    """Run, and tell what came out, also where some cells failed. Raises CellsFailed; Inconclusive for invalid cells."""
    from harness.cli.progress import make_observer
    from harness.cli.report import show_run
    from harness.store.run import load_run

    failed: CellsFailed | None = None
    with make_observer(as_json) as observer:
        try:
            path = work(observer)
        except CellsFailed as error:
            failed, path = error, Path(str(error.where))
    if as_json:
        click.echo(json.dumps({"event": "result", "path": str(path)}))
    else:
        show_run(path)
    if failed is not None:
        raise failed
    unsound = [cell for cell in load_run(path).manifest.cells if cell.state in ("invalid", "degraded")]
    if unsound:
        raise Inconclusive(
            "not valid: " + ", ".join(f"cell {cell.id} ({cell.state})" for cell in unsound),
            where=str(path),
            remedy=f"the report says why; `harness resume --invalid {path}` runs them again, best on a quieter machine",
        )
