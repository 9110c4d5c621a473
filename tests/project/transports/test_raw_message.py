"""`RawEmailMessage` with Django's email backends and with django-anymail's backends for email services."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.mime.base import MIMEBase
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from anymail.exceptions import AnymailRecipientsRefused, AnymailRequestsAPIError  # type: ignore[import-untyped]
from anymail.message import AnymailRecipientStatus  # type: ignore[import-untyped]
from django.core import mail

from project.emails.mime.builder import Attachment, Draft, build_message, envelope_recipients
from project.emails.models import Email, RawMessage
from project.transports.raw_message import RawEmailMessage
from project.transports.smtp.error_classification import FailureKind, classify_error
from tests.mailers import send_through

TEXT, HTML = "Grüße\n\nvon Ada", '<p>Grüße</p><img src="cid:logo">'
PDF = Attachment("Angebot für Sie.pdf", bytes(range(256)), "application/pdf")
LOGO = Attachment("logo.png", b"\x89PNG", "image/png", "logo")
DRAFT = Draft(
    sender="Shop <shop@example.com>",
    to=('"Lovelace, Ada" <ada@example.com>', "Bob@example.com"),
    cc=("Carl <carl@example.com>",),
    bcc=("Dora <dora@example.com>",),
    reply_to=("help@example.com",),
    subject="Ihr Angebot",
    text=TEXT,
    html=HTML,
    headers={"X-Thing": "Öl", "List-Unsubscribe": f"<https://example.com/{'x' * 90}>"},
    attachments=(PDF, LOGO),
)


def raw_email(draft: Draft = DRAFT, *, recipients: list[str] | None = None) -> RawEmailMessage:
    """Return the message for a submitted email, ready to be sent through a backend."""
    email = Email(
        sender=draft.sender,
        to=list(draft.to),
        cc=list(draft.cc),
        bcc=list(draft.bcc),
        reply_to=list(draft.reply_to),
        recipients=envelope_recipients(draft),
        subject=draft.subject,
        attempts=2,
    )
    RawMessage(email=email, content=build_message(draft, message_id="<1@example.com>", date=datetime(2026, 12, 1, tzinfo=UTC)))
    to = email.recipients if recipients is None else recipients
    return RawEmailMessage(email, recipients=to)


def attachment_of(content: bytes, content_type: str) -> MIMEBase:
    """Build an email with one attachment, and return the attachment's MIME part."""
    attachment = Attachment("a", content, content_type)
    (file,) = raw_email(Draft(sender="a@b.example", to=("c@b.example",), text="", attachments=(attachment,))).attachments
    assert isinstance(file, MIMEBase)
    return file


# Parts


def test_has_the_text_and_the_html() -> None:
    message = raw_email()

    assert (message.subject, message.body) == ("Ihr Angebot", TEXT)
    assert message.alternatives == [(HTML, "text/html")]


def test_has_the_text_generated_from_html() -> None:
    message = raw_email(Draft(sender="a@b.example", to=("c@b.example",), html="<p>Hello</p>"))

    assert message.body == "Hello"


def test_has_no_html_for_a_text_email() -> None:
    message = raw_email(Draft(sender="a@b.example", to=("c@b.example",), text=""))

    assert (message.body, message.alternatives, message.attachments) == ("", [], [])


def test_has_attachments_and_inline_images() -> None:
    files = [file for file in raw_email().attachments if isinstance(file, MIMEBase)]

    assert [
        (file.get_filename(), file.get_content_type(), file.get_content_disposition(), file["Content-ID"]) for file in files
    ] == [("logo.png", "image/png", "inline", "<logo>"), (PDF.filename, "application/pdf", "attachment", None)]
    assert [file.get_payload(decode=True) for file in files] == [LOGO.content, PDF.content]


def test_an_invitation_is_a_file_for_an_email_service() -> None:
    invitation = Attachment("invite.ics", b"BEGIN:VCALENDAR", "text/calendar; method=REQUEST")

    message = raw_email(replace(DRAFT, attachments=(invitation,)))

    (part,) = message.attachments
    assert isinstance(part, MIMEBase)
    assert (part.get_content_type(), part.get_param("method"), part.get_filename()) == ("text/calendar", "REQUEST", "invite.ics")
    assert [mimetype for _, mimetype in message.alternatives] == ["text/html"]


def test_keeps_the_parameters_of_a_content_type() -> None:
    file = attachment_of("Öl".encode("latin-1"), 'text/calendar; charset="latin-1"; method=REQUEST')

    assert (file.get_param("method"), file.get_content_charset()) == ("REQUEST", "latin-1")


@pytest.mark.parametrize(("content", "content_type"), [(b"\xff", "text/plain"), (b"a", "text/plain; charset=klingon")])
def test_a_text_attachment_that_cannot_be_decoded_becomes_binary(content: bytes, content_type: str) -> None:
    file = attachment_of(content, content_type)

    assert (file.get_content_type(), file.get_payload(decode=True)) == ("application/octet-stream", content)


def test_has_the_custom_headers_of_the_sender() -> None:
    assert raw_email().extra_headers == {"Message-ID": "<1@example.com>", **DRAFT.headers}


def test_has_the_number_of_the_attempt() -> None:
    assert raw_email().attempt == 2


def test_an_unknown_attribute_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'RawEmailMessage' object has no attribute 'tags'"):
        _ = raw_email().tags


# Backends that send the message


def test_smtp_receives_the_stored_bytes() -> None:
    message = raw_email()
    source = build_message(DRAFT, message_id="<1@example.com>", date=datetime(2026, 12, 1, tzinfo=UTC))

    assert message.message().as_bytes(linesep="\r\n") == message.message(policy=policy.SMTP).as_bytes() == source


def test_the_envelope_has_only_the_remaining_recipients() -> None:
    assert raw_email(recipients=["dora@example.com"]).recipients() == ["dora@example.com"]


def test_the_locmem_backend_stores_the_message() -> None:
    mail.outbox = []

    assert send_through("django.core.mail.backends.locmem.EmailBackend", [raw_email()]) == 1

    (message,) = mail.outbox
    assert isinstance(message, RawEmailMessage)
    assert (message.body, len(message.attachments), message.message()["Subject"]) == (TEXT, 2, "Ihr Angebot")


def test_the_console_backend_prints_the_message() -> None:
    stream = io.StringIO()

    send_through("django.core.mail.backends.console.EmailBackend", [raw_email()], stream=stream)

    assert raw_email().message().as_bytes().decode() in stream.getvalue()


def test_the_file_backend_writes_the_message(tmp_path: Path) -> None:
    send_through("django.core.mail.backends.filebased.EmailBackend", [raw_email()], file_path=tmp_path)

    (file,) = tmp_path.iterdir()
    assert file.read_bytes().startswith(raw_email().message().as_bytes())


# Backends that send the parts


def send_with_anymail(message: Any) -> None:
    """Empty the outbox, and send a message through the test backend of django-anymail."""
    mail.outbox = []
    send_through("anymail.backends.test.EmailBackend", [message])


def test_an_email_service_receives_every_part() -> None:
    message: Any = raw_email()

    send_with_anymail(message)

    params = message.anymail_test_params
    assert (str(params["from"]), params["text_body"], params["html_body"]) == (DRAFT.sender, TEXT, HTML)
    assert {name: [str(each) for each in params[name]] for name in ("to", "cc", "bcc", "reply_to")} == {
        name: list(getattr(DRAFT, name)) for name in ("to", "cc", "bcc", "reply_to")
    }
    assert params["extra_headers"]["x-thing"] == "Öl"
    assert [(each.name, each.cid, each.content) for each in params["attachments"]] == [
        ("logo.png", "logo", LOGO.content),
        (PDF.filename, "", PDF.content),
    ]


def test_an_email_service_receives_only_the_remaining_recipients() -> None:
    message: Any = raw_email(recipients=["Bob@example.com", "dora@example.com"])

    send_with_anymail(message)

    to, cc, bcc = (message.anymail_test_params[name] for name in ("to", "cc", "bcc"))
    assert [[each.addr_spec for each in field] for field in (to, cc, bcc)] == [
        ["Bob@example.com"],
        [],
        ["dora@example.com"],
    ]


def recipient_statuses(**statuses: str) -> dict[str, Any]:
    """Return a response of the test backend, with a status for each recipient."""
    return {"recipient_status": {f"{name}@example.com": AnymailRecipientStatus("1", status) for name, status in statuses.items()}}


def test_an_email_service_may_reject_some_recipients() -> None:
    message: Any = raw_email()
    message.anymail_test_response = recipient_statuses(
        ada="invalid", bob="rejected", carl="failed", dora="queued", eve="rejected"
    )
    message.rejected = {"dora@example.com": (550, b"no")}

    send_with_anymail(message)

    codes = {address: (code, text[:5]) for address, (code, text) in message.collect_rejections().items()}
    assert codes == {
        "dora@example.com": (550, b"no"),
        "ada@example.com": (553, b"5.1.3"),
        "Bob@example.com": (550, b"5.7.1"),
        "carl@example.com": (451, b"4.3.0"),
    }


def test_an_email_service_may_reject_all_recipients() -> None:
    message: Any = raw_email(recipients=["ada@example.com"])
    message.anymail_test_response = recipient_statuses(ada="rejected")

    with pytest.raises(AnymailRecipientsRefused) as rejection:
        send_with_anymail(message)

    assert classify_error(rejection.value) is FailureKind.PERMANENT
    assert list(message.collect_rejections()) == ["ada@example.com"]


def test_an_unsent_message_has_no_rejections() -> None:
    assert raw_email().collect_rejections() == {}


# Over HTTP


class Api(HTTPServer):
    """The API of an email service, which sends the same response to every request."""

    status, response = 200, b"{}"
    request: EmailMessage  # the last request, parsed as a MIME message because its body may be multipart

    @property
    def url(self) -> str:
        """Return the URL of the API."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        self.server.request = message_from_bytes(head + body, EmailMessage, policy=policy.HTTP)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.response)))
        self.end_headers()
        self.wfile.write(self.server.response)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Suppress the request log."""


@contextmanager
def run_api() -> Iterator[Api]:
    """Run an API server in this process until the end of the block."""
    with Api(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def api(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Run an API server that replaces Mailgun and Postmark."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with run_api() as server:
        settings.ANYMAIL = {
            "MAILGUN_API_KEY": "key",
            "MAILGUN_API_URL": server.url,
            "POSTMARK_SERVER_TOKEN": "token",
            "POSTMARK_API_URL": server.url,
        }
        yield server


def test_mailgun_receives_every_part(api: Api) -> None:
    api.response = b'{"id": "<1@example.com>", "message": "Queued. Thank you."}'
    recipients = ["ada@example.com", "carl@example.com", "dora@example.com"]

    send_through("anymail.backends.mailgun.EmailBackend", [raw_email(recipients=recipients)])

    parts = [
        (part.get_param("name", header="Content-Disposition"), part.get_payload(decode=True)) for part in api.request.iter_parts()
    ]
    fields = dict(parts)
    assert [fields[name] for name in ("to", "cc", "bcc")] == [DRAFT.to[0].encode(), DRAFT.cc[0].encode(), DRAFT.bcc[0].encode()]
    assert (fields["text"], fields["html"], fields["h:X-Thing"]) == (TEXT.encode(), HTML.encode(), "Öl".encode())
    assert (fields["attachment"], fields["inline"], fields["h:Message-Id"]) == (PDF.content, LOGO.content, b"<1@example.com>")


POSTMARK_PARTIAL = b"""{"ErrorCode": 0, "MessageID": "1", "To": "ada@example.com, Bob@example.com", "Message":
    "Message OK, but will not deliver to these inactive addresses: bob@example.com. Inactive recipients are ones that ..."}"""
POSTMARK_REJECTED = b"""{"ErrorCode": 300, "Message": "Invalid 'To' address: 'bob@example.com'."}"""


@pytest.mark.parametrize(
    ("status", "response", "codes"),
    [(200, POSTMARK_PARTIAL, {"Bob": 550}), (422, POSTMARK_REJECTED, {"ada": 451, "Bob": 553, "carl": 451, "dora": 451})],
)
def test_postmark_reports_rejected_recipients(api: Api, status: int, response: bytes, codes: dict[str, int]) -> None:
    api.status, api.response = status, response
    message = raw_email()

    send_through("anymail.backends.postmark.EmailBackend", [message])

    assert {address.partition("@")[0]: code for address, (code, _) in message.collect_rejections().items()} == codes


@pytest.mark.parametrize(
    ("status", "response", "failure_kind"),
    [
        (400, b"to is bad", FailureKind.PERMANENT),
        (401, b"Forbidden", FailureKind.TEMPORARY),
        (429, b"slower", FailureKind.TEMPORARY),
        (503, b"later", FailureKind.TEMPORARY),
        (200, b"<html>", FailureKind.TEMPORARY),
    ],
)
def test_the_http_status_decides_the_kind_of_failure(api: Api, status: int, response: bytes, failure_kind: FailureKind) -> None:
    api.status, api.response = status, response

    with pytest.raises(AnymailRequestsAPIError) as failure:
        send_through("anymail.backends.mailgun.EmailBackend", [raw_email()])

    assert classify_error(failure.value) is failure_kind
