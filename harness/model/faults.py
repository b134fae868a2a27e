"""How a model says that something in a user's file is wrong: where, what, what was expected, and the nearest name.

Validators of the models raise what `refuse` returns; `harness.model.document` turns it, and pydantic's own
errors, into `Finding`s with file and line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

__all__ = ["FAULTS", "Fault", "nearest", "refuse", "unknown_name"]

#: Type of the pydantic error that carries faults, and the key they have in its context.
FAULTS = "faults"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong, relative to the object whose validator found it.

    Attributes:
        at: path of keys and indices below that object; the last may be a key itself that should not be there.
        what: what was wrong.
        expected: what would have been right.
        suggestion: the nearest known name.
    """

    at: tuple[str | int, ...]
    what: str
    expected: str | None = None
    suggestion: str | None = None


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name most like the given one, or None if none is near (difflib ratio 0.6)."""
    matches = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_name(at: tuple[str | int, ...], kind: str, name: object, known: Sequence[str]) -> Fault:
    """The fault of a name that refers to nothing: `kind` is the word for what it should name, e.g. "site"."""
    listed = ", ".join(known) if known else "none is defined"
    return Fault(at, f"there is no {kind} {name!r}", f"one of: {listed}", nearest(name, known))


def refuse(*faults: Fault) -> PydanticCustomError:
    """The error to raise from a validator for these faults."""
    return PydanticCustomError(
        FAULTS, "{summary}", {"summary": "; ".join(f.what for f in faults), FAULTS: list(faults)}
    )
