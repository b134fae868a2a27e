"""`harness cleanup`: removes what killed runs left on this machine or on its container engine, and only that."""

from __future__ import annotations

import click

from harness.errors import MissingCapability
from harness.runtime.docker.engine import connect, named_host
from harness.runtime.docker.labels import Leftover, leftovers, remove
from harness.runtime.labs import abandoned_labs

__all__ = ["cleanup"]

_ORDER = ("container", "network", "volume")


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--run", "run_id", metavar="RUN", help="Also what that run has on the container engine, even if it may still go on."
)
def cleanup(dry_run: bool, run_id: str | None) -> None:
    """Remove what killed runs left behind, and only that. Results are never touched.

    On a container engine (DOCKER_HOST, or the one of this machine) everything of ours carries a label: what a run that
    was started on this machine and is over has left is removed. What was started elsewhere is shown; --run removes it.
    """
    verb = "would remove" if dry_run else "removing"
    labs = abandoned_labs()
    for lab in labs:
        click.echo(f"{verb} lab of run {lab.run_id}: {lab.scratch}")
        if not dry_run:
            lab.destroy()
    if not _clean_engine(verb, dry_run, run_id) and not labs:
        click.echo("nothing to remove")


def _clean_engine(verb: str, dry_run: bool, run_id: str | None) -> int:
    """How much was (or would be) removed from the engine."""
    try:
        engine = connect()
    except MissingCapability:
        if named_host() is not None or run_id is not None:
            raise
        return 0
    try:
        found = leftovers(engine)
        wanted = [one for one in found if one.driven is False or (run_id is not None and one.run_id == run_id)]
        for kind in _ORDER:
            for one in wanted:
                if one.kind == kind:
                    click.echo(f"{verb} {one.kind} of run {one.run_id}: {one.name}")
                    if not dry_run:
                        remove(engine, one)
        _tell_of_others([one for one in found if one.driven is None and one not in wanted])
        return len(wanted)
    finally:
        engine.close()


def _tell_of_others(others: list[Leftover]) -> None:
    for run_id in dict.fromkeys(one.run_id for one in others):
        hosts = {one.controller.split(" ")[0] or "?" for one in others if one.run_id == run_id}
        click.echo(
            f"kept what run {run_id}, started on {', '.join(sorted(hosts))}, has on the engine: "
            f"`harness cleanup --run {run_id}` removes it"
        )
