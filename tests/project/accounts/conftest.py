"""Fixtures for tests of accounts."""

from typing import Any

import pytest
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.models import User


@pytest.fixture
def device(owner: User) -> Any:
    """Return the owner's confirmed device. It is created without signals, so that the audit trail stays empty."""
    return TOTPDevice.objects.bulk_create([TOTPDevice(user=owner, name="app", confirmed=True)])[0]
