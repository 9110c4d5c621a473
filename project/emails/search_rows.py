"""Completes the search rows (recipients and tags) that the previous version has written.

They have no owner, and their addresses may contain uppercase letters. The migration completes all rows that exist. While servers
of both versions run, the previous version adds more of them, so the delivery worker looks for such rows from time to time.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import OuterRef, QuerySet, Subquery

from project.emails.models import Email, Recipient, Tag

BATCH_SIZE = 500  # rows of one table in one transaction


def complete_search_rows(*, email: Any = Email, recipient: Any = Recipient, tag: Any = Tag, **_sweep: object) -> int:
    """Complete one batch of recipients and of tags. Return how many rows were found; 0 means that none are left.

    A migration passes its own versions of the models.
    """
    with transaction.atomic():
        recipients = list(_incomplete(recipient.objects).values_list("address", "email_id")[:BATCH_SIZE])
        _set_owner(recipient.objects, {email_id for _, email_id in recipients}, email)
        for address, email_id in recipients:
            if address != address.lower():
                _write_in_lowercase(recipient.objects.filter(address=address, email_id=email_id))
        tags = list(_incomplete(tag.objects).values_list("email_id", flat=True)[:BATCH_SIZE])
        _set_owner(tag.objects, set(tags), email)
    return len(recipients) + len(tags)


def _incomplete(rows: "QuerySet[Any]") -> "QuerySet[Any]":
    incomplete = rows.filter(owner=None).order_by("email_id")
    if connection.features.has_select_for_update_skip_locked:
        return incomplete.select_for_update(skip_locked=True)
    return incomplete


def _set_owner(rows: "QuerySet[Any]", email_ids: Collection[UUID], email: Any) -> None:
    owner = Subquery(email.objects.filter(pk=OuterRef("email_id")).values("owner"))
    rows.filter(owner=None, email_id__in=email_ids).update(owner=owner)


def _write_in_lowercase(row: "QuerySet[Any]") -> None:
    """Replace a row by one with the address in lowercase, unless the email has that row already."""
    [values] = row.values("address", "email_id", "owner")
    row.model.objects.bulk_create([row.model(**values | {"address": values["address"].lower()})], ignore_conflicts=True)
    row.delete()
