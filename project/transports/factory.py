"""Creates the transports that Django's settings select."""

from django.conf import settings

from project.config.mailers import SMTP_BACKEND
from project.transports.base import Transport
from project.transports.django_backend import DjangoBackendTransport, backend_name, backend_path
from project.transports.smtp.transport import SmtpTransport

CHECK_TAG = "transport"  # tag of the system checks that `serve`, `deliver` and `prepare` run before they start
BACKEND_THREADS = 10  # a backend may block its thread for a long time


def delivers_only_locally() -> bool:
    """Return whether emails cannot leave this machine, because the transport is the embedded mailbox."""
    return backend_path() == settings.MAILBOX_BACKEND


def relay_names() -> list[str]:
    """Return the names of the relays in failover order, or of the email backend."""
    return [relay.name for relay in settings.RELAYS] if _uses_relays() else [backend_name()]


def create_transports() -> list[Transport]:
    """Return our own SMTP transport for each relay of EMAIL_URL, or a transport that wraps any other Django email backend."""
    if _uses_relays():
        return [SmtpTransport(relay) for relay in settings.RELAYS]
    return [DjangoBackendTransport(BACKEND_THREADS)]


def _uses_relays() -> bool:
    return backend_path() == SMTP_BACKEND and bool(settings.RELAYS)
