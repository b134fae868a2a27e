"""`harness images`: the container images runs use, built, listed, removed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from harness.files import load_scenario, plan_run
from harness.images.stock import OwnImage, own_images, remove_image
from harness.lab.provision import provide
from harness.runtime.docker.engine import Engine, connect
from harness.runtime.labs import temporary_files_of

__all__ = ["images"]


@click.group()
def images() -> None:
    """Build, list and remove the container images that runs use."""


@images.command()
@click.argument("scenarios", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SCENARIO...")
@click.option("--quiet", is_flag=True, help="Only the result, not how it goes.")
def build(scenarios: tuple[Path, ...], quiet: bool) -> None:
    """Pull and build every image the SCENARIOs need, so that their runs begin at once."""
    start = time.monotonic()

    def say(what: str, line: str) -> None:
        if not quiet:
            click.echo(f"[{time.monotonic() - start:6.1f} s] {f'{what}: {line}' if what else line}")

    used: dict[str, None] = {}
    for path in scenarios:
        loaded = load_scenario(path)
        with temporary_files_of(f"images-{secrets.token_hex(3)}"):
            provided = provide("docker", loaded.stacks, plan_run(loaded), say)
        for note in provided.notes:
            click.echo(f"note: {note}")
        for cell in provided.cells:
            used |= dict.fromkeys(image for node in cell.lab.nodes for image in (node.image, *node.beside) if image)
    click.echo(f"ready in {time.monotonic() - start:.1f} s:")
    for reference in used:
        click.echo(f"  {reference}")


@contextmanager
def _engine() -> Iterator[Engine]:
    engine = connect()
    try:
        yield engine
    finally:
        engine.close()


@images.command(name="list")
def list_() -> None:
    """Show the images the harness has made on the engine."""
    with _engine() as engine:
        found = own_images(engine)
    for line in _table(found):
        click.echo(line)
    if not found:
        click.echo("the engine has no images of the harness")


def _table(found: Sequence[OwnImage]) -> Iterator[str]:
    for one in found:
        age = f"{max(0, int(time.time()) - one.created_s) // 3600} h old"
        use = "in use" if one.used else ""
        yield f"{one.kind:<9} {one.name:<45} {one.size / 2**20:>7,.0f} MiB  {age:>9}  {use}".rstrip()


@images.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune(dry_run: bool) -> None:
    """Remove the images the harness has made, but for those containers use; what is needed again is built again."""
    with _engine() as engine:
        spare = [one for one in own_images(engine) if not one.used]
        for one in spare:
            click.echo(f"{'would remove' if dry_run else 'removing'} {one.kind} {one.name}")
            if not dry_run:
                remove_image(engine, one)
    if not spare:
        click.echo("nothing to remove")
