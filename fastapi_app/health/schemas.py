"""Schemas of the health routes."""

from typing import Literal

from pydantic import BaseModel, Field


class Liveness(BaseModel):
    """The process responds."""

    status: Literal["ok"] = Field("ok", examples=["ok"])


class Readiness(BaseModel):
    """The state of each part."""

    status: Literal["ok", "unavailable"] = Field(examples=["ok"])
    checks: dict[str, str] = Field(
        description='"ok", or the problem', examples=[{"database": "ok", "channel_layer": "ok", "delivery": "ok"}]
    )
