"""The shapes of the suppression routes."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fastapi_app.fields import EXAMPLE_TIME, Storable
from fastapi_app.pagination import CursorPage
from project.emails.mime.headers import check_text
from project.suppressions.store import MAX_REASON_LENGTH


class SuppressionIn(BaseModel):
    """Why an address gets no mail."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[Storable, Field(max_length=MAX_REASON_LENGTH), AfterValidator(check_text)] = Field(
        "", examples=["Asked for no more mail"]
    )


class SuppressionOut(BaseModel):
    """An address that gets no mail, why, and since when."""

    model_config = ConfigDict(from_attributes=True)

    address: str = Field(examples=["ada@example.com"])
    reason: str = Field(examples=["Asked for no more mail"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])


class SuppressionPage(CursorPage[SuppressionOut]):
    """Some of many. `next` is what the next page comes `after`; null on the last."""

    next: str | None = Field(examples=["ada@example.com"])
