"""Steps of two-factor login that several tests share."""

from typing import Any

from django.test import Client as Browser
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from starlette.testclient import TestClient

from project.audit.models import AuditAction, AuditEvent
from tests.conftest import PASSWORD

SETUP_URL = "/admin/two-factor/"
CLIENT_IP, LOCAL = "198.51.100.7", "127.0.0.1"


def current_code(device: TOTPDevice) -> str:
    """Return the code that the authenticator app shows now."""
    return f"{TOTP(device.bin_key, device.step, device.t0, device.digits).token():06}"


def incorrect_code(device: TOTPDevice) -> str:
    """Return a code that is invalid now and up to two time steps earlier or later."""
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    return next(f"{number:06}" for number in range(100) if not totp.verify(number, tolerance=2))


def log_in(browser: Browser, **form: str) -> Any:
    """Submit the admin's login form with the owner's username and password."""
    return browser.post("/admin/login/?next=/admin/", {"username": "owner", "password": PASSWORD, **form})


def request_token(client: TestClient, **form: str) -> tuple[int, str | None]:
    """Request an access token for the owner. Return the status and the error code."""
    response = client.post("/api/token", data={"username": "owner", "password": PASSWORD, **form})
    return response.status_code, response.json().get("code")


def audit_trail() -> list[tuple[str, str, str, str | None]]:
    """Return (action, reason, object or actor, ip_address) of each entry except logins, oldest first."""
    events = AuditEvent.objects.exclude(action=AuditAction.LOGGED_IN).order_by("pk")
    return [(event.action, event.reason, event.object or event.actor, event.ip_address) for event in events]
