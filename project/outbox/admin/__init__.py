"""The outbox in the admin: mail to look at, to retry and to cancel. It is made through the API."""

from project.outbox.admin import emails, mailbox, suppressions, templates

__all__ = ["emails", "mailbox", "suppressions", "templates"]
