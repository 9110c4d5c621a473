"""Schemas of the example routes."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, WithJsonSchema

from fastapi_app.fields import NO_NUL, NO_NUL_SCHEMA
from project.emails.mime.email_addresses import normalize_address

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Address = Annotated[
    str, AfterValidator(normalize_address), WithJsonSchema({"type": "string", "format": "email", "examples": ["ada@example.com"]})
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000), NO_NUL, NO_NUL_SCHEMA]


class Message(BaseModel):
    """A message."""

    message: str = Field(examples=["Hello, Dependency Injection"])


class Greeting(BaseModel):
    """Hello and goodbye for one name."""

    name: str = Field(examples=["Ada"])
    hello: str = Field(examples=["Hello, Ada!"])
    goodbye: str = Field(examples=["Goodbye, Ada!"])
    hello_at: datetime = Field(examples=["2026-12-01T09:00:00Z"])
    goodbye_at: datetime = Field(examples=["2026-12-01T09:00:01Z"])


class Greetings(BaseModel):
    """All greetings."""

    greetings: list[Greeting]
    elapsed: float = Field(description="Seconds for all greetings together", examples=[1.0])


class Sum(BaseModel):
    """A sum."""

    result: int = Field(examples=[8])
