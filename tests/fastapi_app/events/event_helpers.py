"""Helpers for tests of events: the URL of the WebSocket, and a function that submits emails and so creates events."""

from dataclasses import replace
from uuid import UUID

import pytest
from django.utils import timezone

from project.bridge.database.transactions import call_in_transaction
from project.emails.submit import plain_text_email, prepare_email, submit_batch

ADA = "ada@example.com"
SOCKET_URL = "/api/ws/events"

# A WebSocket re-authenticates over other database connections, which see only committed rows.
committed = pytest.mark.django_db(transaction=True)


def send(count: int = 1, *, owner_id: str = "", to: tuple[str, ...] = (ADA,)) -> list[UUID]:
    """Submit emails, and return their ids."""
    new_email = plain_text_email(address=ADA, text="Hi")
    new_email = replace(new_email, draft=replace(new_email.draft, to=to), owner_id=owner_id)
    prepared = [prepare_email(new_email, now=timezone.now()) for _ in range(count)]
    call_in_transaction(submit_batch, prepared)
    return [each.email.id for each in prepared]
