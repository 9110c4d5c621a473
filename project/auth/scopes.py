"""Scopes of the API. A user's scopes follow from the user's Django permissions, which are granted in the admin."""

from collections.abc import Iterable

from project.accounts.models import User
from project.errors import DomainError

SCOPES = {
    "emails:send": "Send emails",
    "emails:read": "Read emails",
    "events:read": "Read and stream events",
    "templates:read": "Read templates",
    "templates:write": "Create, update and delete templates",
    "suppressions:read": "Read suppressions",
    "suppressions:write": "Add and remove suppressions",
}

PERMISSIONS = {  # a scope requires the permissions for all its actions, so that the API allows no more than the admin
    "emails:send": ["emails.add_email"],
    "emails:read": ["emails.view_email"],
    "events:read": ["emails.view_email"],
    "templates:read": ["mail_templates.view_template"],
    "templates:write": ["mail_templates.add_template", "mail_templates.change_template", "mail_templates.delete_template"],
    "suppressions:read": ["suppressions.view_suppression"],
    "suppressions:write": ["suppressions.add_suppression", "suppressions.change_suppression", "suppressions.delete_suppression"],
}


class InvalidScope(DomainError):
    """A requested scope does not exist (RFC 6749 section 5.2)."""

    code = "invalid_scope"


def scopes_for_user(user: User) -> frozenset[str]:
    """Return the scopes that a user's permissions allow: all scopes for a superuser, an empty set for a deactivated user."""
    return frozenset(scope for scope, permissions in PERMISSIONS.items() if user.has_perms(permissions))


def require_known_scopes(scopes: Iterable[str]) -> None:
    """Raise `InvalidScope` if any of `scopes` does not exist."""
    if unknown := unknown_scopes(scopes):
        raise InvalidScope(f"Unknown scope: {', '.join(unknown)}.")


def unknown_scopes(scopes: Iterable[str]) -> list[str]:
    """Return the scopes that do not exist, sorted and without duplicates."""
    return sorted(set(scopes) - SCOPES.keys())
