"""The most frequent reasons of failures."""

import pytest

from project.emails.models import Email
from project.emails.top_reasons import MAX_REASONS, ReasonCount, top_reasons


def create(status: str, reason: str | None, number: int = 1) -> None:
    """Create emails with this status and reason."""
    Email.objects.bulk_create(Email(status=status, reason=reason, recipients=["a@b.example"]) for _ in range(number))


def test_counts_all_emails_with_a_reason(db: None) -> None:
    create("bounced", "550 No such user", 2)
    create("failed", "550 No such user")
    create("sent", "550 No such user")
    create("delayed", "451 Later", 3)
    create("sent", None)

    assert top_reasons() == [ReasonCount("550 No such user", 4), ReasonCount("451 Later", 3)]


def test_returns_only_the_most_frequent_reasons(db: None) -> None:
    for number in range(1, MAX_REASONS + 3):
        create("failed", f"550 Reason {number}", number)

    assert [count.emails for count in top_reasons()] == [7, 6, 5, 4, 3]


def test_the_number_is_limited(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.emails.top_reasons.MAX_COUNTED", 2)
    create("failed", "550 Blocked", 4)

    assert [count.label for count in top_reasons()] == ["2+"]
