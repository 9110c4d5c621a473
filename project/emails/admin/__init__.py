"""Emails in the admin: search, view, retry and cancel. New emails come only from the API."""

from project.emails.admin import email_admin

__all__ = ["email_admin"]
