"""Variables of delivery: the relay, the worker and the retries."""

import re
from datetime import timedelta
from email.utils import parseaddr
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from project.config.durations import DEFAULT_RETRY_DELAYS, parse_duration, parse_durations
from project.config.email_url import MAILBOX_URL, parse_email_urls


class DeliveryVariables(BaseSettings):
    """Variables of delivery: the relay, the worker and the retries."""

    email_url: Annotated[SecretStr, NoDecode] = Field(
        SecretStr(MAILBOX_URL),
        description="Where emails are sent. mailbox:// stores them on this machine; smtp://, smtp+starttls:// or"
        " smtps://user:password@host:port sends them to a relay. Several relays, separated by spaces, are used in this order.",
    )
    email_backend: str | None = Field(
        None, pattern=r"^\w+(\.\w+)+$", description="Dotted path of a Django email backend, used instead of EMAIL_URL."
    )
    default_from_email: str = Field(
        "Mailrail <mailrail@localhost>", pattern=r"^[^\r\n\x00]+$", description="From address of emails that do not set one."
    )
    delivery_worker: Literal["in_process", "subprocess", "external", "celery"] | None = Field(
        None,
        description="Where emails are delivered. subprocess: in a process that the server starts (default of manage.py serve)."
        " in_process: inside the server (default of other servers). external: by manage.py deliver, which you run yourself."
        " celery: by Celery workers, which you run yourself.",
    )
    celery_broker_url: SecretStr | None = Field(
        None,
        description="Broker of Celery with DELIVERY_WORKER=celery, such as redis://host:6379/1 or amqp://user:password@host/vhost.",
    )
    retry_delays: Annotated[tuple[timedelta, ...], NoDecode] = Field(
        DEFAULT_RETRY_DELAYS,
        description="Delays between attempts, separated by commas, such as 1m,5m,15m,1h,4h,12h,1d. none disables retries.",
    )

    max_email_age: Annotated[timedelta, NoDecode] = Field(
        timedelta(days=3),
        gt=timedelta(),
        description="How long an email may wait to be sent, such as 3d or 1h. After that, it fails.",
    )

    @field_validator("max_email_age", mode="before")
    @classmethod
    def _parse_age(cls, value: object) -> object:
        return parse_duration(value, noun="age") if isinstance(value, str) else value

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _parse_delays(cls, value: object) -> object:
        return parse_durations("" if value == "none" else value) if isinstance(value, str) else value

    @field_validator("celery_broker_url")
    @classmethod
    def _check_broker_url(cls, value: SecretStr | None) -> SecretStr | None:
        urls = [] if value is None else value.get_secret_value().split(";")  # Celery connects to the first one that answers
        if not all(re.fullmatch(r"(redis|amqp)s?://[^\s;]+", url) for url in urls):
            raise ValueError("it must look like redis://host:6379/1 or amqp://user:password@host/vhost")
        return value

    @field_validator("default_from_email")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1]:
            raise ValueError("it contains no email address")
        return value

    @field_validator("email_url")
    @classmethod
    def _check_email_url(cls, value: SecretStr) -> SecretStr:
        parse_email_urls(value.get_secret_value())
        return value
