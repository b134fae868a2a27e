"""The command line: parses arguments, calls the harness, turns every known error into text and an exit code."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click
from click.shell_completion import CompletionItem

import harness
from harness.errors import ExitCode, HarnessError

__all__ = ["cli", "main"]

#: The registration list of sub-commands, by what they are for: name -> "module:command", imported when used.
SECTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "Before a run": {
            "doctor": "harness.cli.doctor:doctor",
            "validate": "harness.cli.inspect:validate",
            "plan": "harness.cli.inspect:plan",
            "schema": "harness.cli.inspect:schema",
            "links": "harness.cli.links:links",
        },
        "Runs": {
            "run": "harness.cli.run:run",
            "resume": "harness.cli.run:resume",
            "report": "harness.cli.report:report",
            "compare": "harness.cli.compare:compare",
        },
        "Client memory in continuous integration": {
            "gate": "harness.cli.gate:gate",
            "baseline": "harness.cli.baseline:baseline",
            "calibrate": "harness.cli.calibrate:calibrate",
        },
        "This machine": {
            "images": "harness.cli.images:images",
            "cleanup": "harness.cli.cleanup:cleanup",
            "completion": "harness.cli.completion:completion",
        },
    }
)
COMMANDS: Mapping[str, str] = MappingProxyType(
    {name: place for section in SECTIONS.values() for name, place in section.items()}
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # Without importing every command: someone is waiting for the shell.
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in SECTIONS.items():
            rows = []
            for name in section:
                command = self.get_command(ctx, name)
                assert command is not None
                rows.append((name, command.get_short_help_str(limit=120)))
            with formatter.section(title):
                formatter.write_dl(rows)


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(harness.__version__, prog_name="harness")
def cli() -> None:
    """Will your message bus survive the edge, and does its client leak?

    A scenario file says which sites there are, how far apart they stand, which bus and which clients are put to the
    test and under which load. Check it, look at what it will do, run it, read the report:

    \b
      harness doctor                              can this machine run it?
      harness validate scenarios/quickstart.yaml  is the file right?
      harness plan scenarios/quickstart.yaml      what will happen, and which latencies distance alone allows
      harness run scenarios/quickstart.yaml       results/quickstart/RUN/report.html

    Figures of one run are no verdict. Repeat (repetitions: 5), sweep (sweep: {links.core-edge-a.rtt: [...]}), compare:

    \b
      harness run campaign.yaml                   all systems x points x repetitions, random order
      harness resume results/campaign             after Ctrl-C, a failure or kill -9: what is done is kept
      harness compare results/campaign            better, worse, equivalent or inconclusive, with intervals

    Does a client leak? A scenario with a memory section gives doses; the gate makes it a test for CI:

    \b
      harness gate scenarios/memory-smoke.yaml --smoke

    Every command has its own --help; the scenario language is in docs/scenario-language.md, a way from nothing to a
    comparison in docs/tutorial.md. Completion: eval "$(harness completion bash)".

    Exit codes: 0 done, 1 regression, 2 bad input, 3 infrastructure failure, 4 inconclusive, 130 interrupted.
    """


def main() -> None:
    """Entry point of the `harness` command; always ends by sys.exit."""
    try:
        cli.main(prog_name="harness", standalone_mode=False)
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
