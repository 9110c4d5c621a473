"""Request and response models of the template routes."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fastapi_app.fields import EXAMPLE_TIME, NO_NUL, NO_NUL_SCHEMA
from fastapi_app.pagination import CursorPage
from fastapi_app.request_model import RequestModel
from project.emails.mime.headers import check_displayed, check_text
from project.mail_templates.liquid import MAX_SUBJECT_LENGTH, check_variables
from project.mail_templates.sandbox import MAX_SOURCE_LENGTH


def _none_if_empty(part: str | None) -> str | None:
    return part or None


Source = Annotated[str, Field(max_length=MAX_SOURCE_LENGTH), NO_NUL, NO_NUL_SCHEMA, AfterValidator(check_text)]
Slug = Annotated[str, Field(pattern="^[a-z0-9_-]{1,100}$")]
Variables = Annotated[dict[str, Any], AfterValidator(check_variables)]
Part = Annotated[str | None, BeforeValidator(_none_if_empty)]

EXAMPLE_TEXT, EXAMPLE_HTML = "Hi {{ name }}, welcome.", "<p>Hi {{ name }}, <b>welcome</b>.</p>"


class TemplateIn(RequestModel):
    """The Liquid sources of a template. Variables are escaped in `html` only. At least one of `text` and `html` is required."""

    subject: Annotated[Source, Field(max_length=MAX_SUBJECT_LENGTH), AfterValidator(check_displayed)] = Field(
        "", examples=["Welcome, {{ name }}"]
    )
    text: Source | None = Field(None, examples=[EXAMPLE_TEXT])
    html: Source | None = Field(None, examples=[EXAMPLE_HTML])

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.text and not self.html:
            raise ValueError("Provide at least one of text and html.")
        return self


class TemplateItem(BaseModel):
    """A template without its bodies."""

    model_config = ConfigDict(from_attributes=True)

    slug: str = Field(examples=["welcome"])
    version: int = Field(examples=[3])
    subject: str = Field(examples=["Welcome, {{ name }}"])
    created_at: datetime = Field(description="When this version was created", examples=[EXAMPLE_TIME])


class TemplateOut(TemplateItem):
    """The current version of a template."""

    text: Part = Field(examples=[EXAMPLE_TEXT])
    html: Part = Field(examples=[EXAMPLE_HTML])


class TemplatePage(CursorPage[TemplateItem]):
    """One page of templates. Pass `next` as `after` to get the next page; it is null on the last page."""

    next: str | None = Field(examples=["welcome"])


class PreviewRequest(RequestModel):
    """The variables for a preview."""

    variables: Variables = Field({}, examples=[{"name": "Ada"}])


class TemplatePreview(BaseModel):
    """The rendered parts."""

    model_config = ConfigDict(from_attributes=True)

    subject: str = Field(examples=["Welcome, Ada"])
    text: str | None = Field(examples=["Hi Ada, welcome."])
    html: str | None = Field(examples=["<p>Hi Ada, <b>welcome</b>.</p>"])
