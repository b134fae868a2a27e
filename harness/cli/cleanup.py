"""`harness cleanup`: removes what killed runs left on this machine, and only that."""

from __future__ import annotations

import click

from harness.runtime.labs import abandoned_labs

__all__ = ["cleanup"]


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def cleanup(dry_run: bool) -> None:
    """Remove what killed runs left behind, and only that. Results are never touched."""
    labs = abandoned_labs()
    for lab in labs:
        click.echo(f"{'would remove' if dry_run else 'removing'} lab of run {lab.run_id}: {lab.scratch}")
        if not dry_run:
            lab.destroy()
    if not labs:
        click.echo("nothing to remove")
