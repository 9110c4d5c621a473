"""The SMTP transport with relays that have a size limit, a login or TLS."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from project.config.email_url import Relay
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.certificates import write_certificate
from tests.processes import free_port
from tests.project.transports.fake_relay import fake_relay, open_connection, unsaved_email

pytestmark = pytest.mark.anyio

PASSWORD = "hunter2hunter2"


class StoringHandler:
    """A handler for aiosmtpd that stores every message the server accepts."""

    def __init__(self) -> None:
        self.emails: list[bytes | str | None] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Store the message."""
        self.emails.append(envelope.content)
        return "250 2.0.0 Accepted"


def authenticate_ada(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: LoginPassword) -> AuthResult:
    """Accept only a login as Ada with PASSWORD."""
    return AuthResult(success=login == LoginPassword(b"ada", PASSWORD.encode()), handled=False)


@contextmanager
def strict_relay(**options: Any) -> Iterator[tuple[int, StoringHandler]]:
    """Run an aiosmtpd server with these options. Return its port, and the handler that stores the messages."""
    handler = StoringHandler()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port, handler
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that contains a self-signed certificate for 127.0.0.1 and its private key."""
    return write_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """Return the TLS context of a server with this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def _trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the self-signed certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


async def test_does_not_send_an_email_that_exceeds_the_relays_size_limit() -> None:
    with strict_relay(data_size_limit=1000) as (port, handler):
        connection = open_connection(Relay("127.0.0.1", port))

        results = [await connection.send(unsaved_email(text=text)) for text in ("long " * 1000, "short")]
        await connection.close()

    assert [(result.reply or Reply(0, "")).code for result in results] == [552, 250]
    assert (results[0].failure_kind, len(handler.emails)) == (FailureKind.PERMANENT, 1)
    assert "DATA" not in results[0].smtp_transcript


@pytest.mark.usefixtures("_trusted")
async def test_logs_in_and_keeps_the_login_out_of_the_transcript(tls: ssl.SSLContext) -> None:
    with strict_relay(tls_context=tls, authenticator=authenticate_ada, auth_required=True) as (port, handler):
        connection = open_connection(Relay("127.0.0.1", port, starttls=True, username="ada", password=PASSWORD))

        result = await connection.send(unsaved_email())
        await connection.close()

    assert (result.error, len(handler.emails)) == ("", 1)
    assert result.smtp_transcript.startswith("C: MAIL FROM:<shop@example.com>")
    assert "AUTH" not in result.smtp_transcript


@pytest.mark.usefixtures("_trusted")
async def test_a_relay_that_rejects_the_login_is_unavailable(tls: ssl.SSLContext) -> None:
    with strict_relay(tls_context=tls, authenticator=authenticate_ada, auth_required=True) as (port, handler):
        connection = open_connection(Relay("127.0.0.1", port, starttls=True, username="ada", password="wrong"))

        result = await connection.send(unsaved_email())

    assert (result.failure_kind, handler.emails) == (FailureKind.RELAY_UNAVAILABLE, [])
    assert result.error.startswith("535 5.7.8 ")
    assert "wrong" not in result.error + result.smtp_transcript


@pytest.mark.usefixtures("_trusted")
async def test_sends_over_starttls(tls: ssl.SSLContext) -> None:
    with strict_relay(tls_context=tls, require_starttls=True) as (port, handler):
        connection = open_connection(Relay("127.0.0.1", port, starttls=True))

        results = [await connection.send(unsaved_email()) for _ in range(2)]
        await connection.close()

    assert ([result.error for result in results], len(handler.emails)) == (["", ""], 2)


@pytest.mark.usefixtures("_trusted")
async def test_sends_over_implicit_tls(tls: ssl.SSLContext) -> None:
    with strict_relay(ssl_context=tls) as (port, handler):
        connection = open_connection(Relay("127.0.0.1", port, implicit_tls=True))

        results = [await connection.send(unsaved_email()) for _ in range(2)]
        await connection.close()

    assert ([result.error for result in results], len(handler.emails)) == (["", ""], 2)


@pytest.mark.parametrize("starttls", [True, False])
async def test_a_relay_with_an_untrusted_certificate_is_unavailable(tls: ssl.SSLContext, starttls: bool) -> None:
    with strict_relay(**{"tls_context" if starttls else "ssl_context": tls}) as (port, handler):
        connection = open_connection(Relay("127.0.0.1", port, starttls=starttls, implicit_tls=not starttls))

        result = await connection.send(unsaved_email())

    assert (result.failure_kind, handler.emails, connection.is_open) == (FailureKind.RELAY_UNAVAILABLE, [], False)
    assert "certificate verify failed" in result.error


async def test_sends_no_email_if_the_relay_does_not_support_starttls() -> None:
    async with fake_relay() as relay:
        result = await open_connection(Relay("127.0.0.1", relay.port, starttls=True)).send(unsaved_email())

    assert (result.failure_kind, relay.emails_started) == (FailureKind.RELAY_UNAVAILABLE, 0)
