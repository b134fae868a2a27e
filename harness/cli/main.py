"""The command line: parses arguments, calls the harness, turns every known error into text and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click

import harness
from harness.errors import ExitCode, HarnessError

__all__ = ["cli", "main"]

#: The registration list of sub-commands: name -> "module:command", imported when used.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "run": "harness.cli.run:run",
        "validate": "harness.cli.inspect:validate",
        "plan": "harness.cli.inspect:plan",
        "schema": "harness.cli.inspect:schema",
        "report": "harness.cli.report:report",
        "compare": "harness.cli.compare:compare",
        "links": "harness.cli.links:links",
        "gate": "harness.cli.gate:gate",
        "baseline": "harness.cli.baseline:baseline",
        "calibrate": "harness.cli.calibrate:calibrate",
        "images": "harness.cli.images:images",
        "doctor": "harness.cli.doctor:doctor",
        "cleanup": "harness.cli.cleanup:cleanup",
    }
)


class _Lazy(click.Group):
    """A group whose commands are imported only when they are used or described."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(harness.__version__, prog_name="harness")
def cli() -> None:
    """Will your message bus survive the edge, and does its client leak?

    A scenario file says which sites there are, how far apart they stand, which bus and which clients are put to the
    test and under which load. Check it, look at what it will do, run it, read the report:

    \b
      harness validate scenarios/quickstart.yaml
      harness plan scenarios/quickstart.yaml
      harness run scenarios/quickstart.yaml

    Exit codes: 0 done, 1 regression, 2 bad input, 3 infrastructure failure, 4 inconclusive, 130 interrupted.
    """


def main() -> None:
    """Entry point of the `harness` command; always ends by sys.exit."""
    try:
        cli.main(standalone_mode=False)
    except HarnessError as error:
        click.echo(f"harness: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("harness: interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; that is no failure of ours.
        sys.stderr.close()
        sys.exit(ExitCode.OK)
    sys.exit(ExitCode.OK)
