"""Field types that several schemas share."""

from typing import Annotated

from pydantic import AfterValidator, Field

EXAMPLE_TIME = "2026-12-01T09:00:00Z"  # used in examples


def reject_nul(text: str) -> str:
    """Return the text. Raises ValueError for NUL, which PostgreSQL cannot store."""
    if "\x00" in text:
        raise ValueError("The text must not contain a NUL character.")
    return text


# A limit of the length stands before these two. After them, Pydantic would count "items" in its message.
NO_NUL, NO_NUL_SCHEMA = AfterValidator(reject_nul), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})
Storable = Annotated[str, NO_NUL, NO_NUL_SCHEMA]
