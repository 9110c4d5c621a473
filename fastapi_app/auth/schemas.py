"""Response models for access tokens and for the authenticated caller."""

from typing import Literal

from pydantic import BaseModel, Field


class AccessToken(BaseModel):
    """An access token (RFC 6749 section 5.1)."""

    access_token: str = Field(examples=["eyJ1c2VyIjoxfQ:1vN0Xy:2hJ8Qf0cW7"])
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # a type, not a token
    expires_in: int = Field(description="Lifetime in seconds", examples=[1800])
    scope: str = Field(description="The granted scopes, separated by spaces", examples=["emails:read emails:send"])


class CurrentCaller(BaseModel):
    """The authenticated caller."""

    kind: Literal["key", "token", "session"] = Field(examples=["token"])
    name: str = Field(examples=["admin"])
    scopes: list[str] = Field(examples=[["emails:read", "emails:send"]])
