"""`POST /api/emails` as a user of Django Ninja and django-post-office would write it, with Mailrail's schema."""

import os
from datetime import datetime

from django.http import HttpRequest
from django.urls import path
from ninja import Field, NinjaAPI, Schema  # type: ignore[import-not-found]
from ninja.security import HttpBearer  # type: ignore[import-not-found]
from post_office import mail  # type: ignore[import-not-found]


class Key(HttpBearer):  # type: ignore[misc]
    """Authentication with one key. It needs no database query, so that it is as cheap as possible."""

    def authenticate(self, request: HttpRequest, token: str) -> str | None:
        """Return the token if it is the right key, otherwise None."""
        return token if token == os.environ["API_KEY"] else None


class EmailIn(Schema):  # type: ignore[misc]
    """An email to send. post_office itself validates the email addresses."""

    sender: str = Field(alias="from")
    to: list[str]
    cc: list[str] = []
    bcc: list[str] = []
    subject: str = ""
    text: str = ""
    html: str = ""
    headers: dict[str, str] = {}
    tags: dict[str, str] = {}  # post_office has no tags
    scheduled_at: datetime | None = None


class EmailAccepted(Schema):  # type: ignore[misc]
    """An accepted email."""

    id: int
    status: str
    created_at: datetime


api = NinjaAPI(auth=Key())


@api.post("/emails", response={202: EmailAccepted})  # type: ignore[untyped-decorator]
def send(request: HttpRequest, email: EmailIn) -> tuple[int, dict[str, object]]:  # noqa: ARG001  # Ninja's signature
    """Queue an email."""
    queued = mail.send(
        email.to,
        email.sender,
        subject=email.subject,
        message=email.text,
        html_message=email.html,
        cc=email.cc,
        bcc=email.bcc,
        headers=email.headers or None,
        scheduled_time=email.scheduled_at,
    )
    return 202, {"id": queued.id, "status": "queued", "created_at": queued.created}


urlpatterns = [path("api/", api.urls)]
