"""Emails in the admin: search, look, retry and cancel. Emails are created through the API."""

from project.emails.admin import email_admin

__all__ = ["email_admin"]
