"""Which transport Django's settings ask for."""

from django.conf import settings

from project.transports.base import Transport
from project.transports.django_backend import DjangoBackendTransport
from project.transports.smtp.transport import SmtpTransport

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
CHECK_TAG = "transport"  # of the system checks that `serve`, `deliver` and `prepare` run before they start
BACKEND_THREADS = 10  # for backends that wait


def is_local_only() -> bool:
    """Whether mail cannot leave this machine, since the transport is the embedded mailbox."""
    return settings.EMAIL_BACKEND == settings.MAILBOX_BACKEND


def create_transport() -> Transport:
    """A new transport: for the relay of EMAIL_URL our own, over kept connections; for any other backend Django's interface."""
    if settings.EMAIL_BACKEND == SMTP_BACKEND and settings.RELAY is not None:
        return SmtpTransport(settings.RELAY)
    return DjangoBackendTransport(BACKEND_THREADS)
