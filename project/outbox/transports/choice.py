"""Which transport Django's settings ask for."""

from django.conf import settings

from project.outbox.transports.base import Transport
from project.outbox.transports.django import DjangoTransport
from project.outbox.transports.smtp import SmtpTransport

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
THREADS = 10  # for backends that wait


def stays_here() -> bool:
    """Whether mail cannot leave this machine, since the transport is the embedded mailbox."""
    return settings.EMAIL_BACKEND == settings.MAILBOX_BACKEND


def transport() -> Transport:
    """A new transport: for the relay of EMAIL_URL our own, over kept connections; for any other backend Django's interface."""
    if settings.EMAIL_BACKEND == SMTP_BACKEND and settings.RELAY is not None:
        return SmtpTransport(settings.RELAY)
    return DjangoTransport(THREADS)
