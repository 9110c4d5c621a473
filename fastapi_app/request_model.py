"""Base class of request bodies: unknown fields are rejected, and null means that an optional field is absent."""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from fastapi_app.problems import MAX_PROBLEMS

_ANNOTATIONS = ("title", "description", "examples", "default")  # keywords of JSON Schema that describe a field as a whole


class RequestModel(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_fields(cls, body: Any) -> Any:
        """Limit the number of fields, and drop null."""
        if not isinstance(body, dict):
            return body
        if len(body) > len(cls.model_fields) + MAX_PROBLEMS:
            raise PydanticCustomError("too_long", f"The object has {len(body)} fields. Most of them do not exist.")
        if None not in body.values():
            return body
        optional = {field.alias or name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in body.items() if value is not None or name not in optional}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema. Its optional fields allow null."""
        schema = handler(core_schema)
        model = handler.resolve_ref_schema(schema)
        required = model.get("required", [])
        model["properties"] = {
            name: field if name in required else _allow_null(field) for name, field in model["properties"].items()
        }
        return schema


def _allow_null(field: JsonSchemaValue) -> JsonSchemaValue:
    annotations = {key: value for key, value in field.items() if key in _ANNOTATIONS}
    types = {key: value for key, value in field.items() if key not in _ANNOTATIONS}
    branches = types["anyOf"] if types.keys() == {"anyOf"} else [types]
    null = {"type": "null"}
    return {"anyOf": [*branches, *([] if null in branches else [null])], **annotations}
