"""What the tests of live events share: mail that they tell of, and where the socket is."""

from dataclasses import replace
from uuid import UUID

import pytest
from django.utils import timezone

from project.bridge import database
from project.outbox.accept import accept_batch, message_order, prepare

ADA = "ada@example.com"
SOCKET = "/api/ws/events"

# A socket asks about its caller on other connections, which see only what is committed.
committed = pytest.mark.django_db(transaction=True)


def send(count: int = 1, *, caller_id: str = "", to: tuple[str, ...] = (ADA,)) -> list[UUID]:
    """Accept mails. Gives their ids."""
    order = message_order(address=ADA, text="Hi")
    order = replace(order, draft=replace(order.draft, to=to), caller_id=caller_id)
    mails = [prepare(order, now=timezone.now()) for _ in range(count)]
    database.call(accept_batch, mails)
    return [mail.email.id for mail in mails]
