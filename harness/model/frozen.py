"""The base of every object that comes from a user's file: frozen, and strict about unknown keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from harness.model.faults import Fault, nearest, refuse

__all__ = ["NAMES", "NULL", "NUMBER", "TEXT", "AlsoWritten", "Flag", "Frozen", "Name", "Real", "Whole"]

#: Numbers and truth as themselves: neither text nor, for a number, true.
Whole = Annotated[int, Strict()]
Real = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]

Form = Mapping[str, Any]
#: Short forms of AlsoWritten.
TEXT: Form = {"type": "string"}
NAMES: Form = {"type": "array", "items": {"type": "string"}}
NUMBER: Form = {"type": "integer"}
NULL: Form = {"type": "null"}


@dataclass(frozen=True, slots=True)
class AlsoWritten:
    """Tells the JSON Schema of short forms that a validator beside it turns into the full one.

    Attributes:
        forms: the schema of each short form.
    """

    forms: tuple[Form, ...]

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [*map(dict, self.forms), handler(core_schema)]}


class Frozen(BaseModel):
    """An immutable model; a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = [field.alias or name for name, field in cls.model_fields.items()]
        faults = [
            Fault((key,), f"unknown key {key!r}", f"one of: {', '.join(known)}", nearest(key, known))
            for key in data
            if key not in known
        ]
        if faults:
            raise refuse(*faults)
        return data


_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")


def _check_name(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"a name is text, not {value!r}")
    if not _NAME.match(value):
        raise ValueError(
            f"{value!r} is not a usable name; 1 to 32 lower-case letters, digits and inner hyphens, like edge-a"
        )
    return value


#: A name of a site, link, system, bus or workload: a host-name label.
Name = Annotated[
    str,
    BeforeValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern.removesuffix(chr(92) + 'Z')}$"}),
]
