"""The actions on emails in the admin: retry, cancel and send again. They do the same as the API's routes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from project.emails.actions import cancel_email, cancel_emails, retry_email, retry_emails
from project.emails.models import Email
from project.emails.resend import resend_email, resend_emails
from project.emails.status import CANCELABLE, FINAL, RETRYABLE, Status


@dataclass(frozen=True)
class Action:
    """An action: functions that apply it to one email and to many, its texts, and the statuses and permissions that it needs."""

    label: str  # of the button
    success: str
    failure: str  # the end of the sentence "This email cannot be …"
    allowed: tuple[Status, ...]
    apply: Callable[..., Any]  # to one email; the result has the `id` of the email to follow
    apply_to_all: Callable[..., object]  # to emails with an allowed status, locked by the caller's transaction
    batch_size: int  # emails that one transaction changes
    permissions: tuple[str, ...] = ("emails.change_email",)
    needs_body: bool = True  # whether the email is sent, which needs its message

    def is_allowed(self, email: Email) -> bool:
        """Return whether the email's status allows the action. Failed recipients of a sent email can be retried too."""
        return email.status in self.allowed or (self.apply is retry_email and email.is_retryable)


ACTIONS = {
    "retry": Action("Retry now", "Queued again.", "retried", RETRYABLE, retry_email, retry_emails, 200),
    "cancel": Action("Cancel", "Canceled.", "canceled", CANCELABLE, cancel_email, cancel_emails, 200, needs_body=False),
    "resend": Action(
        "Send again",
        "Sent again as a new email.",
        "sent again",
        FINAL,
        resend_email,
        resend_emails,
        20,  # few, because each copy has the whole message
        ("emails.change_email", "emails.add_email"),
    ),
}


def possible_actions(email: Email, permitted: Sequence[str]) -> list[dict[str, str]]:
    """Return the names and labels of those permitted actions that the email's status allows."""
    has_body = hasattr(email, "raw_message")
    names = [name for name in permitted if ACTIONS[name].is_allowed(email) and (has_body or not ACTIONS[name].needs_body)]
    return [{"name": name, "label": ACTIONS[name].label} for name in names]
