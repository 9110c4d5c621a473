"""The shapes of the health routes."""

from typing import Literal

from pydantic import BaseModel, Field


class Liveness(BaseModel):
    """The process can answer."""

    status: Literal["ok"] = Field("ok", examples=["ok"])


class Readiness(BaseModel):
    """Whether each part works."""

    status: Literal["ok", "unavailable"] = Field(examples=["ok"])
    checks: dict[str, str] = Field(
        description='"ok", or what is wrong', examples=[{"database": "ok", "channel_layer": "ok", "engine": "ok"}]
    )
