"""Users, and a version number that changes when any credential changes."""

from collections.abc import Iterator

from django.contrib.auth.models import AbstractUser
from django.db import models
from django_otp.plugins.otp_totp.models import TOTPDevice


class User(AbstractUser):
    """Django's user with two-factor login (project.accounts.two_factor)."""

    # Part of each access token. A logout increments it, which revokes the tokens of the user.
    token_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    @property
    def device(self) -> TOTPDevice | None:
        """Return the user's authenticator app, or None if two-factor login is off."""
        return TOTPDevice.objects.filter(user=self, confirmed=True).first()

    def get_session_auth_hash(self) -> str:
        """Return the hash that ends sessions and tokens when it changes. It depends on the password and on the device."""
        return self._with_device(super().get_session_auth_hash())

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """Return one session hash for each earlier secret key (SECRET_KEY_FALLBACKS)."""
        return map(self._with_device, super().get_session_auth_fallback_hash())

    def _with_device(self, text: str) -> str:
        device = self.device
        return text if device is None else f"{text}:{device.pk}"


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
