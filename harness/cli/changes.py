"""`--set KEY=VALUE`: a value of a scenario or its topology said on the command line, as a sweep would say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from harness.errors import BadFile, BadInput
from harness.model.document import parse_document

__all__ = ["changes_option", "parse_changes"]

_F = TypeVar("_F", bound=Callable[..., Any])


def changes_option(command: _F) -> _F:
    """The option `--set`, handed to the command as `changes`: texts for parse_changes."""
    return click.option(
        "--set",
        "changes",
        multiple=True,
        metavar="KEY=VALUE",
        help="Put a value at a dotted key of the scenario or topology, like scale=4 or links.core-edge.rtt=80ms; may "
        "be repeated.",
    )(command)


def parse_changes(texts: Sequence[str]) -> dict[str, Any]:
    """Values by dotted key; a value is written as in the file. Raises BadInput."""
    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise BadInput(
                f"{text!r} does not say what becomes what", where="--set", expected="KEY=VALUE, like scale=4"
            )
        try:
            data = parse_document(f"value: {value}", "--set").data
        except BadFile as bad:
            raise BadInput(
                f"{value!r} is not a value: {bad.findings[0].what}",
                where=f"--set {key}",
                expected="a value as in the file",
            ) from None
        if list(data) != ["value"]:
            raise BadInput(f"{value!r} is more than one value", where=f"--set {key}", expected="a --set for each key")
        changes[key.strip()] = data["value"]
    return changes
