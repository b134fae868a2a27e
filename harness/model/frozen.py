"""The base of every object that comes from a user's file: frozen, and strict about unknown keys."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

__all__ = ["Frozen", "Name"]


class Frozen(BaseModel):
    """An immutable model; a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, populate_by_name=True)


_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")


def _check_name(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"a name is text, not {value!r}")
    if not _NAME.match(value):
        raise ValueError(
            f"{value!r} is not a usable name: 1 to 32 lower-case letters, digits and inner hyphens (it becomes a host name)"
        )
    return value


#: A name of a site, link, system, bus or workload: a host-name label.
Name = Annotated[
    str,
    BeforeValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"}),
]
