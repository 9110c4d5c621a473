"""Fields that several schemas have."""

from typing import Annotated

from pydantic import AfterValidator, Field

MOMENT = "2026-12-01T09:00:00Z"  # in examples


def storable(text: str) -> str:
    """The text, unless it holds what PostgreSQL cannot store. Raises ValueError."""
    if "\x00" in text:
        raise ValueError("a text holds no NUL character")
    return text


Storable = Annotated[str, AfterValidator(storable), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
