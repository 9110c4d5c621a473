"""Users, and a version number that changes when any credential changes."""

from collections.abc import Iterator

from django.contrib.auth.models import AbstractUser
from django.db import models
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.user_agents import describe_user_agent


class User(AbstractUser):
    """Django's user with two-factor login (project.accounts.two_factor)."""

    # Part of each access token. A logout increments it, which revokes the tokens of the user.
    token_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    # Part of the hash of each session. "Log out everywhere else" increments it.
    session_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    @property
    def device(self) -> TOTPDevice | None:
        """Return the user's authenticator app, or None if two-factor login is off."""
        return TOTPDevice.objects.filter(user=self, confirmed=True).first()

    def get_session_auth_hash(self) -> str:
        """Return the hash that ends sessions and tokens when it changes. It depends on password, device and version."""
        return self._with_device(super().get_session_auth_hash())

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """Return one session hash for each earlier secret key (SECRET_KEY_FALLBACKS)."""
        return map(self._with_device, super().get_session_auth_fallback_hash())

    def _with_device(self, text: str) -> str:
        device = self.device
        text = text if device is None else f"{text}:{device.pk}"
        return f"{text}:v{self.session_version}" if self.session_version else text


class UserSession(models.Model):
    """A session as its user sees it (project.accounts.sessions). Django's own table contains the data of the session."""

    # No foreign key, so that Django and the previous version of Mailrail can delete their rows without this table.
    session_key = models.CharField(max_length=40, unique=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="sessions", db_constraint=False)
    created_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(db_index=True)
    ip_address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=300, default="", blank=True)

    def __str__(self) -> str:
        return f"{self.user_id}: {self.ip_address}"

    @property
    def device(self) -> str:
        """Return the browser and the operating system, as far as they are known."""
        return describe_user_agent(self.user_agent)


class LoginCounter(models.Model):
    """The number of failed logins of one subject (project.accounts.login_counters)."""

    key = models.CharField(max_length=64, unique=True)  # SHA-256 of the subject
    failures = models.PositiveIntegerField(default=0)
    attempted_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.key[:8]}: {self.failures}"


class CredentialsVersion(models.Model):
    """One row with a number that is incremented when a credential changes. `project.auth.credential_changes` polls it."""

    version = models.PositiveBigIntegerField(default=1)

    def __str__(self) -> str:
        return str(self.version)
