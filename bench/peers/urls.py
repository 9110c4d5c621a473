"""`POST /api/emails` as a user of Django Ninja and django-post-office writes it, with the shape of Mailrail's."""

import os
from datetime import datetime

from django.http import HttpRequest
from django.urls import path
from ninja import Field, NinjaAPI, Schema  # type: ignore[import-not-found]
from ninja.security import HttpBearer  # type: ignore[import-not-found]
from post_office import mail  # type: ignore[import-not-found]


class Key(HttpBearer):  # type: ignore[misc]
    """One key, compared and not looked up: the least that it can cost."""

    def authenticate(self, request: HttpRequest, token: str) -> str | None:
        """The key, if it is the right one."""
        return token if token == os.environ["API_KEY"] else None


class EmailIn(Schema):  # type: ignore[misc]
    """A mail to send. Whether an address is one, post_office looks itself."""

    sender: str = Field(alias="from")
    to: list[str]
    cc: list[str] = []
    bcc: list[str] = []
    subject: str = ""
    text: str = ""
    html: str = ""
    headers: dict[str, str] = {}
    tags: dict[str, str] = {}  # post_office has none
    scheduled_at: datetime | None = None


class EmailAccepted(Schema):  # type: ignore[misc]
    """It is in the database."""

    id: int
    status: str
    created_at: datetime


api = NinjaAPI(auth=Key())


@api.post("/emails", response={202: EmailAccepted})  # type: ignore[untyped-decorator]
def send(request: HttpRequest, email: EmailIn) -> tuple[int, dict[str, object]]:  # noqa: ARG001  # Ninja's signature
    """Queue a mail."""
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
