"""Result of a submission."""

from dataclasses import dataclass

from project.emails.email_row import EmailRow


@dataclass(frozen=True)
class SubmissionResult:
    """Result that `POST /api/emails` returns for one email. `created_at` is RFC 3339 in UTC.

    `replayed` is True if the result belongs to an earlier request with the same idempotency key.
    """

    id: str
    status: str
    created_at: str
    replayed: bool = False

    @classmethod
    def of(cls, email: EmailRow) -> "SubmissionResult":
        """Return the result of a new email."""
        return cls(str(email.id), email.status, email.created_at.isoformat().replace("+00:00", "Z"))

    def to_json(self) -> dict[str, str]:
        """Return the result in the form that is stored with an idempotency key."""
        return {"id": self.id, "status": self.status, "created_at": self.created_at}
