"""Field types that several schemas share."""

from typing import Annotated

from pydantic import AfterValidator, Field

EXAMPLE_TIME = "2026-12-01T09:00:00Z"  # used in examples


def reject_nul(text: str) -> str:
    """Return the text. Raises ValueError for NUL, which PostgreSQL cannot store."""
    if "\x00" in text:
        raise ValueError("The text must not contain a NUL character.")
    return text


Storable = Annotated[str, AfterValidator(reject_nul), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
