"""Schemas of the health routes."""

from typing import Literal

from pydantic import BaseModel, Field


class Liveness(BaseModel):
    """The process responds."""

    status: Literal["ok"] = Field("ok", examples=["ok"])


class Readiness(BaseModel):
    """The state of each part."""

    status: Literal["ok", "degraded", "unavailable"] = Field(
        description='"degraded" if the server is ready, but the channel layer is not', examples=["ok"]
    )
    checks: dict[str, str] = Field(
        description='"ok", or the problem. The problem of the channel layer is always "degraded".',
        examples=[{"database": "ok", "channel_layer": "ok", "delivery": "ok"}],
    )
    warning: str | None = Field(
        None,
        description="A problem that does not affect the status code. Absent without a problem.",
        examples=["queue: the oldest email has waited for 1260 s"],
    )
