"""What the tests of live events share: mail that they tell of, and where the socket is."""

from dataclasses import replace
from uuid import UUID

import pytest
from django.utils import timezone

from project.bridge.database.transactions import call_in_transaction
from project.emails.submit import prepare_email, submit_batch, text_message

ADA = "ada@example.com"
SOCKET = "/api/ws/events"

# A socket asks about its caller on other connections, which see only what is committed.
committed = pytest.mark.django_db(transaction=True)


def send(count: int = 1, *, owner_id: str = "", to: tuple[str, ...] = (ADA,)) -> list[UUID]:
    """Accept mails. Gives their ids."""
    order = text_message(address=ADA, text="Hi")
    order = replace(order, draft=replace(order.draft, to=to), owner_id=owner_id)
    mails = [prepare_email(order, now=timezone.now()) for _ in range(count)]
    call_in_transaction(submit_batch, mails)
    return [mail.email.id for mail in mails]
