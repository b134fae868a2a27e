"""The command line: parses arguments, calls the harness, turns every known error into text and an exit code."""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import os
import select
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

import harness
from harness.errors import BadInput, ExitCode, HarnessError, InfrastructureFailure

__all__ = ["cli", "main"]

#: Set in the environment, it shows the traceback of whatever ends the command.
_DEBUG = "HARNESS_DEBUG"
#: What a path of the user's can be to the operating system, and what the machine can run out of; any other error of
#: its is the harness's own.
_BAD_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS)
_EXHAUSTED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

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


class _BrokenPipe(Exception):
    """A pipe without a reader: of our output, or of a child of ours."""

    def __init__(self, error: BrokenPipeError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def _pipes_told() -> Iterator[None]:
    """click itself would end with 1 whatever pipe has lost its reader."""
    try:
        yield
    except BrokenPipeError as error:
        raise _BrokenPipe(error) from error


class _Lazy(click.Group):
    """A group whose commands are imported only when they are used or described."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _pipes_told():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _pipes_told():
            return super().invoke(ctx)

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

    Exit codes: 0 done, 1 regression, 2 bad input, 3 infrastructure failure, 4 inconclusive, 70 a fault of the harness
    itself (HARNESS_DEBUG=1 shows where), 130 interrupted.
    """


def main() -> None:
    """Entry point of the `harness` command; always ends by sys.exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path need not be UTF-8
    try:
        cli.main(prog_name="harness", standalone_mode=False)
    except HarnessError as error:
        _end(error)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("harness: interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except _BrokenPipe as broken:
        if _reader_gone():
            # The reader of our output (head, less) has seen enough; that is no failure of ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(ExitCode.OK)
        _end_of_fault(broken.error)
    except Exception as error:
        if isinstance(error, OSError) and (known := _known(error)) is not None:
            _end(known, error)
        _end_of_fault(error)
    sys.exit(ExitCode.OK)


def _end(error: HarnessError, cause: Exception | None = None) -> NoReturn:
    if os.environ.get(_DEBUG):
        traceback.print_exception(cause or error)
    click.echo(f"harness: {error}", err=True)
    sys.exit(error.exit_code)


def _end_of_fault(error: Exception) -> NoReturn:
    """Tell of a fault of the harness itself in one line; never with the exit code of a regression."""
    if os.environ.get(_DEBUG):
        traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    said = " ".join(str(error).split())[:200]
    click.echo(
        f"harness: internal error: {type(error).__name__}: {said} ({place}); {_DEBUG}=1 shows the whole traceback",
        err=True,
    )
    sys.exit(ExitCode.INTERNAL)


def _known(error: OSError) -> HarnessError | None:
    """An operating-system error as what it says of a path of the user's, or of this machine; None for any other."""
    where = str(error.filename) if error.filename else None
    what = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _BAD_PATH and where:
        return BadInput(f"cannot be used: {what}", where=where, remedy="check the path and who may use it")
    if error.errno in _EXHAUSTED:
        return InfrastructureFailure(what, where=where, remedy="make room on this machine, then try again")
    return None


def _reader_gone() -> bool:
    """Whether nobody reads our output any more."""
    watched = select.poll()
    for number in (1, 2):
        watched.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))
