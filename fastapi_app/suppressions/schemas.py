"""The shapes of the suppression routes."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fastapi_app.fields import MOMENT, Storable
from fastapi_app.pages import Page
from project.outbox.headers import check_text
from project.outbox.suppressions import REASON_LENGTH


class SuppressionIn(BaseModel):
    """Why an address gets no mail."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[Storable, Field(max_length=REASON_LENGTH), AfterValidator(check_text)] = Field(
        "", examples=["Asked for no more mail"]
    )


class SuppressionOut(BaseModel):
    """An address that gets no mail, why, and since when."""

    model_config = ConfigDict(from_attributes=True)

    address: str = Field(examples=["ada@example.com"])
    reason: str = Field(examples=["Asked for no more mail"])
    created_at: datetime = Field(examples=[MOMENT])


class SuppressionPage(Page[SuppressionOut]):
    """Some of many. `next` is what the next page comes `after`; null on the last."""

    next: str | None = Field(examples=["ada@example.com"])
