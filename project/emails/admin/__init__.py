"""Emails in the admin: search, view, retry and cancel. New emails come only from the API."""

from project.emails.admin import bulk_action_admin, email_admin

__all__ = ["bulk_action_admin", "email_admin"]
