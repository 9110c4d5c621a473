"""Completes the words of the subjects of emails that servers of the previous version have accepted.

The migration adds the words of all emails that exist. During a rolling upgrade, the previous version accepts more emails, without
words. So for a day after the migration, the delivery worker looks for such emails. It looks for none in a new database, which no
previous version has used.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from project.emails.ids import first_id_at
from project.emails.models import Email, SubjectWord
from project.emails.subject_words import split_words

APP = "emails"
FIRST_MIGRATION = "0001_initial"
MIGRATION = "0009_subject_words"  # creates the table; the migration after it adds the words
INSTALLATION = timedelta(minutes=5)  # within which a new database gets all migrations
ROLLING_UPGRADE = timedelta(days=1)
OVERLAP = timedelta(minutes=5)  # for clocks that differ, and for transactions that commit late
BATCH_SIZE = 5000  # emails of one transaction; nearly all of them have words, so it only reads


class WordCompletion:
    """Walks through the emails since the migration. Keep one instance for each worker."""

    def __init__(self) -> None:
        self._migrated_at: datetime | None = None
        self._after: UUID | None = None

    def __call__(self, *, now: datetime) -> int:
        """Complete the next emails. Return how many were looked at; 0 means that the end is reached."""
        self._migrated_at = self._migrated_at or _migrated_at()
        if self._migrated_at is None or now > self._migrated_at + ROLLING_UPGRADE:
            return 0
        after = self._after or first_id_at(self._migrated_at - OVERLAP)
        subjects = dict(Email.objects.filter(pk__gt=after).order_by("pk").values_list("pk", "subject")[:BATCH_SIZE])
        _add_words(subjects)
        if len(subjects) < BATCH_SIZE:
            self._after = max(after, first_id_at(now - OVERLAP))
            return 0
        self._after = max(subjects)
        return len(subjects)


def _migrated_at() -> datetime | None:
    """Return when the table was added to a database that existed before, or None."""
    migrations = MigrationRecorder(connection).migration_qs.filter(app=APP, name__in=(FIRST_MIGRATION, MIGRATION))
    applied = dict(migrations.values_list("name", "applied"))
    first, added = applied.get(FIRST_MIGRATION), applied.get(MIGRATION)
    is_new = first is not None and added is not None and timedelta() <= added - first < INSTALLATION
    return None if is_new else added


def _add_words(subjects: dict[UUID, str]) -> None:
    complete = set(SubjectWord.objects.filter(email_id__in=subjects).values_list("email_id", flat=True).distinct())
    missing = {email_id: subject for email_id, subject in subjects.items() if email_id not in complete}
    rows = [SubjectWord(word=word, email_id=email_id) for email_id, subject in missing.items() for word in split_words(subject)]
    SubjectWord.objects.bulk_create(rows, ignore_conflicts=True)
