"""Log messages about deliveries. Email addresses and texts of real emails are not logged."""

import logging

from project.delivery.decision import DeliveryDecision
from project.emails.models import Email
from project.emails.status import Status
from project.transports.factory import delivers_only_locally
from project.transports.raw_message import text_of

MAX_LOGGED_BYTES = 64 * 1024  # of a message whose text is logged; parsing a larger message takes too long

logger = logging.getLogger("project.delivery.sender_pool")  # the sender pool is the only caller


def log_decision(email: Email, decision: DeliveryDecision, *, relay: str, seconds: float | None = None) -> None:
    """Log what an attempt through a relay meant for an email. `seconds` is how long sending took, if the relay got the email.

    With LOG_FORMAT=json, the line has the fields of `extra` and the id of the request that submitted the email.
    """
    if decision.status == Status.SENT and not logger.isEnabledFor(logging.INFO):
        return
    extra = {
        "email_id": str(email.id),
        "status": str(decision.status),
        "attempt": decision.attempts,
        "relay": relay,
        "smtp_code": decision.reply.code if decision.reply else None,
        "seconds": None if seconds is None else round(seconds, 4),
    }
    if decision.status == Status.SENT:
        logger.info("Email sent successfully", extra=extra)
        return
    # The full error may contain email addresses. If emails can leave this machine, only the database and the debug log get it.
    error = decision.error if delivers_only_locally() else _error_class(decision)
    logger.error("Email %s is %s: %s", email.id, decision.status, error, extra=extra)
    logger.debug("Full error of email %s, now %s: %s", email.id, decision.status, decision.error)


def _error_class(decision: DeliveryDecision) -> str:
    """Return the class of the error, or the codes of the relay's reply. Neither contains email addresses."""
    name, reply = decision.error.partition(":")[0], decision.reply
    if name.isidentifier():
        return name
    return f"{reply.code} {reply.enhanced}".rstrip() if reply else "rejected"


def describe(email: Email) -> str:
    """Return how log messages name an email that is being sent."""
    if not delivers_only_locally():
        return f"{email.id}"  # email addresses and texts of real emails are not logged
    content = bytes(email.raw_message.content)
    text = text_of(content) if len(content) <= MAX_LOGGED_BYTES else f"({len(content)} bytes)"
    return f"to {', '.join(email.recipients)}: {_escape_controls(text)}"


def _escape_controls(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
