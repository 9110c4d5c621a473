"""Fields that several schemas have."""

from typing import Annotated

from pydantic import AfterValidator, Field

EXAMPLE_TIME = "2026-12-01T09:00:00Z"  # in examples


def reject_nul(text: str) -> str:
    """The text, unless it holds what PostgreSQL cannot store. Raises ValueError."""
    if "\x00" in text:
        raise ValueError("a text holds no NUL character")
    return text


Storable = Annotated[str, AfterValidator(reject_nul), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
