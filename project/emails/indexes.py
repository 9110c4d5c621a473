"""Indexes of the table of emails. Each further index makes accepting and sending an email slower (decision 0039).

An email's status changes twice when it is sent. On PostgreSQL, each change adds an entry to every index whose condition the row
meets. So an index without a condition costs three entries for each email.
"""

from django.db.models import Index, Q

from project.emails.priority import Priority
from project.emails.status import NOT_SENT, Status

NOT_NORMAL = ~Q(priority=Priority.NORMAL.value)

EMAIL_INDEXES = [
    Index(fields=["owner", "-id"], name="email_owner"),
    Index(fields=["owner", "status", "-id"], name="email_owner_status"),
    # Conditioned on IS NOT NULL, because SQLite uses a partial index only if the query visibly implies its condition,
    # and the bound parameters of `status IN (…)` do not.
    Index(fields=["next_attempt_at"], condition=Q(next_attempt_at__isnull=False), name="email_waiting"),
    Index(fields=["owner", "reason", "-id"], condition=Q(reason__isnull=False), name="email_owner_reason"),
    Index(fields=["reason", "-id"], condition=Q(reason__isnull=False), name="email_reason"),
    Index(fields=["-id"], condition=Q(status=Status.SENT, reason__isnull=False), name="email_partly_sent"),
    Index(fields=["template"], condition=Q(template__isnull=False), name="email_template"),
    Index(fields=["resent_from"], condition=Q(resent_from__isnull=False), name="email_resent_from"),
    # For the few emails that workers have crashed on, which are claimed one at a time.
    Index(fields=["status", "next_attempt_at"], condition=Q(crashes__isnull=False), name="email_crashed"),
    # For the fair order of the queue: the due emails of a priority and a status, of all owners and of one owner.
    Index(
        fields=["status", "priority", "next_attempt_at"],
        condition=Q(next_attempt_at__isnull=False),
        name="email_due_priority",
    ),
    Index(
        fields=["status", "priority", "owner", "next_attempt_at"],
        condition=Q(next_attempt_at__isnull=False),
        name="email_due_priority_owner",
    ),
    Index(fields=["priority", "owner", "id"], condition=Q(status=Status.QUEUED), name="email_queued_turn"),
    # Most emails have normal priority. They are in neither of these indexes.
    Index(fields=["owner", "priority", "-id"], condition=NOT_NORMAL, name="email_owner_priority"),
    Index(fields=["priority", "-id"], condition=NOT_NORMAL, name="email_priority"),
    # One partial index per status that few emails have, to find them among a million sent emails.
    *(Index(fields=["-id"], condition=Q(status=status), name=f"email_{status}") for status in NOT_SENT),
]
