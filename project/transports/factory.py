"""Creates the transport that Django's settings select."""

from django.conf import settings

from project.transports.base import Transport
from project.transports.django_backend import DjangoBackendTransport
from project.transports.smtp.transport import SmtpTransport

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
CHECK_TAG = "transport"  # tag of the system checks that `serve`, `deliver` and `prepare` run before they start
BACKEND_THREADS = 10  # a backend may block its thread for a long time


def delivers_only_locally() -> bool:
    """Return whether emails cannot leave this machine, because the transport is the embedded mailbox."""
    return settings.EMAIL_BACKEND == settings.MAILBOX_BACKEND


def relay_name() -> str:
    """Return the host and port of the relay, or the dotted path of the email backend."""
    if settings.EMAIL_BACKEND == SMTP_BACKEND and settings.RELAY is not None:
        return settings.RELAY.name
    return str(settings.EMAIL_BACKEND)


def create_transport() -> Transport:
    """Return our own SMTP transport for the relay of EMAIL_URL, or a transport that wraps any other Django email backend."""
    if settings.EMAIL_BACKEND == SMTP_BACKEND and settings.RELAY is not None:
        return SmtpTransport(settings.RELAY)
    return DjangoBackendTransport(BACKEND_THREADS)
