"""Sends an email within the span of its attempt."""

from project.emails.models import Email
from project.metrics.spans import delivery_span, set_result
from project.transports.base import Connection
from project.transports.result import SendResult


async def send_traced(connection: Connection, email: Email, relay: str) -> SendResult:
    """Send an email. Its span belongs to the trace of the request that submitted the email, and has the relay's reply."""
    with delivery_span(email.trace_parent, email_id=str(email.id), attempt=email.attempts) as span:
        result = await connection.send(email)
        smtp_code = result.reply.code if result.reply else None
        set_result(span, relay=relay, smtp_code=smtp_code, is_error=bool(result.error))
        return result
