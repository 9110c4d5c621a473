"""Audit trail: logins, rejected credentials, and changes of credentials, templates and suppressions."""
