"""The JSON Schema of scenario and topology files, for editors: as strict about keys and names as the models are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema

__all__ = ["json_schema"]


class _Strict(GenerateJsonSchema):
    """Of a mapping by name, a key that is no name is refused with all that stands below it."""

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        """The schema of a mapping."""
        made = super().dict_schema(schema)
        return {**made, "additionalProperties": False} if "patternProperties" in made else made


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """What a file of that kind may hold, as a JSON Schema document."""
    schema = model.model_json_schema(mode="validation", schema_generator=_Strict)
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"}
