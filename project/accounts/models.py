"""People, and the keys of programs."""

from collections.abc import Iterator

from django.contrib.auth.models import AbstractUser
from django.db import models
from django_otp.plugins.otp_totp.models import TOTPDevice


class User(AbstractUser):
    """Somebody who signs in. Django's own user, and two-factor login (project.accounts.two_factor)."""

    @property
    def device(self) -> TOTPDevice | None:
        """What makes the codes that this user signs in with, if that was set up."""
        return TOTPDevice.objects.filter(user=self, confirmed=True).first()

    def get_session_auth_hash(self) -> str:
        """What sessions and tokens hold, and end with: the password, and the device."""
        return self._with_device(super().get_session_auth_hash())

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """The same under earlier secret keys."""
        return map(self._with_device, super().get_session_auth_fallback_hash())

    def _with_device(self, text: str) -> str:
        device = self.device
        return text if device is None else f"{text}:{device.pk}"


class CredentialsVersion(models.Model):
    """How often anybody's credentials have changed: one row, at which other processes look (project.auth.credential_changes)."""

    version = models.PositiveBigIntegerField(default=1)

    def __str__(self) -> str:
        return str(self.version)
