"""Audit trail: logins, rejected credentials, and changes of API keys, passwords and two-factor login."""
