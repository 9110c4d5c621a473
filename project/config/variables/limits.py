"""Variables that limit what one client can use."""

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from project.config.rates import UNLIMITED, parse_rate
from project.config.variables.types import Seconds


class LimitVariables(BaseSettings):
    """Variables that limit what one client can use."""

    max_request_bytes: int = Field(15 * 1024 * 1024, gt=0, description="Maximum size of a request body, in bytes.")
    request_body_timeout: Seconds = Field(120.0, description="Seconds a client may take to send a request body.")
    client_write_timeout: Seconds = Field(
        60.0, description="Seconds a slow client may take to read a response before it is disconnected."
    )
    websocket_messages_per_second: int = Field(
        10_000,
        ge=0,
        description="Maximum messages per second read from one WebSocket, including control frames and fragments. Extra messages"
        " are delayed, not dropped. 0 means unlimited.",
    )
    max_connections_per_address: int = Field(
        2000,
        ge=0,
        description="Maximum open connections from one IPv4 address or one IPv6 /64 network, in each process. TRUSTED_PROXIES are"
        " exempt. 0 means unlimited.",
    )
    max_streams_per_caller: int = Field(
        1000,
        ge=0,
        description="Maximum open WebSockets and event streams per API key, per user, or per IP address without a credential."
        " 0 means unlimited.",
    )
    rate_limit_key: str = Field(
        UNLIMITED, description="Maximum requests per API key, such as 100/second or 6000/minute. off means unlimited."
    )
    rate_limit_user: str = Field(
        UNLIMITED, description="Maximum requests per user, by access token or session, such as 6000/minute. off means unlimited."
    )
    rate_limit_anonymous: str = Field(
        "60000/minute", description="Maximum requests per IP address without a valid credential. off means unlimited."
    )
    rate_limit_login: str = Field(
        "600/minute",
        description="Maximum logins, in the admin and for access tokens, per IP address and per user. off means unlimited.",
    )

    @field_validator("rate_limit_key", "rate_limit_user", "rate_limit_anonymous", "rate_limit_login")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        parse_rate(value)
        return value
