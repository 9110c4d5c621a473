"""Request and response models of the suppression routes."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fastapi_app.fields import EXAMPLE_TIME, NO_NUL, NO_NUL_SCHEMA
from fastapi_app.pagination import CursorPage
from fastapi_app.request_model import RequestModel
from project.emails.mime.headers import check_displayed
from project.suppressions.store import MAX_REASON_LENGTH


class SuppressionIn(RequestModel):
    """The reason why an address is suppressed."""

    reason: Annotated[str, Field(max_length=MAX_REASON_LENGTH), NO_NUL, NO_NUL_SCHEMA, AfterValidator(check_displayed)] = Field(
        "", examples=["Unsubscribed by phone"]
    )


class SuppressionOut(BaseModel):
    """A suppressed address, the reason, and when it was added."""

    model_config = ConfigDict(from_attributes=True)

    address: str = Field(examples=["ada@example.com"])
    reason: str = Field(examples=["Unsubscribed by phone"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])


class SuppressionPage(CursorPage[SuppressionOut]):
    """One page of suppressions. Pass `next` as `after` to get the next page; it is null on the last page."""

    next: str | None = Field(examples=["ada@example.com"])
