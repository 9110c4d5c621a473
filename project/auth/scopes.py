"""What a caller may do. A user's scopes follow from Django's permissions, so the admin is where they are given."""

from collections.abc import Iterable

from project.accounts.models import User
from project.errors import DomainError

SCOPES = {
    "emails:send": "Send e-mail",
    "emails:read": "See e-mail that was sent",
    "events:read": "Follow what happens to it",
    "templates:read": "See templates",
    "templates:write": "Change templates",
    "suppressions:read": "See the suppression list",
    "suppressions:write": "Change the suppression list",
}

PERMISSIONS = {  # all that a scope lets its holder do, so that nobody may do more here than in the admin
    "emails:send": ["emails.add_email"],
    "emails:read": ["emails.view_email"],
    "events:read": ["emails.view_email"],
    "templates:read": ["mail_templates.view_template"],
    "templates:write": ["mail_templates.add_template", "mail_templates.change_template", "mail_templates.delete_template"],
    "suppressions:read": ["suppressions.view_suppression"],
    "suppressions:write": ["suppressions.add_suppression", "suppressions.change_suppression", "suppressions.delete_suppression"],
}


class InvalidScope(DomainError):
    """A scope was asked for that does not exist (RFC 6749 section 5.2)."""

    code = "invalid_scope"


def scopes_for_user(user: User) -> frozenset[str]:
    """The scopes that a user's permissions allow. A superuser has all, a deactivated user none."""
    return frozenset(scope for scope, permissions in PERMISSIONS.items() if user.has_perms(permissions))


def unknown_scopes(scopes: Iterable[str]) -> list[str]:
    """Those of `scopes` that do not exist, in order."""
    return sorted(set(scopes) - SCOPES.keys())
