"""`harness completion`: completes commands, options, files, systems and runs in a shell."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from harness.errors import HarnessError

__all__ = ["axes", "completion", "link_backends", "results", "runtimes", "scenario_files", "systems"]

_SHELLS = ("bash", "zsh", "fish")
#: Results directories with more runs than this are completed by the file system alone.
_MOST = 200


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete this command: subcommands, options, scenario files, systems, runs.

    \b
      bash   eval "$(harness completion bash)"                  in ~/.bashrc
      zsh    eval "$(harness completion zsh)"                   in ~/.zshrc, after compinit
      fish   harness completion fish | source                   in ~/.config/fish/config.fish
    """
    from harness.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "harness", "_HARNESS_COMPLETE").source())


def _starting(names: Iterator[str] | tuple[str, ...], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def runtimes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of runtimes."""
    from harness.runtime.registry import runtimes as registered

    return _starting(("auto", *registered()), incomplete)


def link_backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of link backends."""
    from harness.links.registry import AUTO, shapers

    return _starting((AUTO, *shapers()), incomplete)


def scenario_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """YAML files, and the directories that lead to them."""
    return [CompletionItem(text) for text in _paths(incomplete, (".yaml", ".yml"))] or [
        CompletionItem(incomplete, "file")
    ]


def _paths(incomplete: str, endings: tuple[str, ...]) -> Iterator[str]:
    head, _, tail = incomplete.rpartition("/")
    base = Path(f"{head}/" if incomplete.startswith("/") and not head else head or ".")
    if not base.is_dir():
        return
    for path in sorted(base.iterdir()):
        if path.name.startswith(tail) and (tail.startswith(".") or not path.name.startswith(".")):
            shown = f"{head}/{path.name}" if "/" in incomplete else path.name
            if path.is_dir():
                yield f"{shown}/"
            elif path.suffix in endings:
                yield shown


def systems(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The systems of the scenario named before."""
    from harness.files import load_scenario

    for path in _named(ctx, "scenario", "file"):
        with contextlib.suppress(HarnessError):
            return _starting(tuple(load_scenario(Path(path)).scenario.systems), incomplete)
    return []


def _named(ctx: click.Context, *arguments: str) -> list[str]:
    """The files named before: click leaves them in `args` while an option still lacks its value."""
    found = [ctx.params.get(name) for name in arguments]
    flat = [each for one in found if one for each in (one if isinstance(one, tuple) else (one,))]
    return [str(each) for each in [*flat, *ctx.args]]


def results(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Directories of scenarios and of their runs below results/, the newest first."""
    found = sorted(Path("results").glob("*/*/manifest.json"), reverse=True)
    if not found or len(found) > _MOST:
        return [CompletionItem(incomplete, "dir")]
    scenarios = dict.fromkeys(str(manifest.parent.parent) for manifest in found)
    offered = _starting((*scenarios, *(str(manifest.parent) for manifest in found)), incomplete)
    return offered or [CompletionItem(incomplete, "dir")]


def axes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the runs named before can be compared along."""
    from harness.store.run import load_run

    names = ["system", "run"]
    try:
        for path in _named(ctx, "runs"):
            for cell in load_run(path).all_cells:
                names += cell.point
    except HarnessError:
        pass
    return _starting(tuple(dict.fromkeys(names)), incomplete)
