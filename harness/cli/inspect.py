"""`harness validate`, `harness plan` and `harness schema`: what a file says, before anything is started."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from harness.cli.changes import changes_option, parse_changes
from harness.cli.completion import scenario_files
from harness.cli.completion import systems as complete_systems
from harness.cli.plan_text import plan_lines
from harness.errors import BadInput
from harness.files import load_scenario, plan_run, read_document
from harness.model.document import Document
from harness.model.document import validate as validate_document
from harness.model.faults import nearest
from harness.model.json_schema import json_schema
from harness.model.scenario import Scenario
from harness.model.topology import Topology

__all__ = ["plan", "schema", "validate"]

_FILE = click.Path(path_type=Path)


def _is_topology(document: Document) -> bool:
    """Whether it is a topology file, also one whose keys are misspelt: it has none of the keys a scenario alone has."""
    topology, scenario = set(Topology.model_fields), set(Scenario.model_fields)
    meant = {nearest(key, topology | scenario) for key in document.data}
    return bool(meant & (topology - scenario)) and not meant & (scenario - topology)


@click.command()
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...", shell_complete=scenario_files)
def validate(files: tuple[Path, ...]) -> None:
    """Check scenario and topology files; every fault is shown with file, line and key."""
    failures: list[BadInput] = []
    for path in files:
        try:
            document = read_document(path)
            if _is_topology(document):
                topology = validate_document(document, Topology)
                click.echo(f"{path}: a topology of {len(topology.sites)} sites and {len(topology.links)} links")
            else:
                cells = plan_run(load_scenario(path))
                systems = len({cell.system for cell in cells})
                click.echo(f"{path}: a scenario of {systems} systems in {len(cells)} cells")
        except BadInput as failure:
            failures.append(failure)
    if failures:
        raise _Several(failures) if len(failures) > 1 else failures[0]


class _Several(BadInput):
    """Faults in several files."""

    def __init__(self, failures: list[BadInput]) -> None:
        super().__init__("\n".join(str(failure) for failure in failures))


@click.command()
@click.argument("file", type=_FILE, shell_complete=scenario_files)
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_systems,
    help="Only this system; may be repeated.",
)
@changes_option
@click.option("--json", "as_json", is_flag=True, help="The whole plan as JSON.")
def plan(file: Path, systems: tuple[str, ...], changes: tuple[str, ...], as_json: bool) -> None:
    """Show exactly what a scenario will run: nodes, addresses, links, agents, schedule, predicted floors."""
    cells = plan_run(load_scenario(file, parse_changes(changes)), systems=systems)
    if as_json:
        click.echo(json.dumps([asdict(cell) for cell in cells], indent=2))
    else:
        click.echo("\n".join(plan_lines(cells)))


@click.command()
@click.argument("kind", type=click.Choice(["scenario", "topology"]), default="scenario")
@click.option(
    "--as",
    "form",
    type=click.Choice(["json", "markdown"]),
    default="json",
    show_default=True,
    help="JSON Schema, or the page docs/scenario-language.md: every key with its values, default and meaning.",
)
def schema(kind: str, form: str) -> None:
    """Print the JSON Schema of scenario (or topology) files, for editors; or the language as a page for people."""
    if form == "markdown":
        from harness.cli.language import language_page

        click.echo(language_page(), nl=False)
        return
    model = Scenario if kind == "scenario" else Topology
    click.echo(json.dumps(json_schema(model), indent=2))
