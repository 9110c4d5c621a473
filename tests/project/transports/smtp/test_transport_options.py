"""The SMTP transport with the options of EMAIL_URL about TLS, XOAUTH2 and the EHLO name, against real servers."""

import json
import ssl
import sys
from base64 import b64decode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.utils import timezone

from project.config.email_url import parse_email_url
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from tests.processes import free_port
from tests.project.transports.fake_relay import SmtpStep, fake_relay, open_connection, unsaved_email

pytestmark = pytest.mark.anyio

TOKEN = "ya29.a0Af_B-y"
CHALLENGE = json.dumps({"status": "401", "schemes": "bearer", "scope": "https://mail.google.com/"})


class TokenHandler:
    """A handler for aiosmtpd that accepts a login as Ada with TOKEN, and records the logins and emails."""

    def __init__(self) -> None:
        self.logins: list[bytes] = []
        self.answers: list[bytes] = []
        self.emails = 0

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802  # aiosmtpd's name
        """Answer a wrong token with a challenge that contains JSON, as Google and Microsoft do."""
        self.logins.append(b64decode(args[1]))
        if self.logins[-1] == f"user=ada@example.com\x01auth=Bearer {TOKEN}\x01\x01".encode():
            return AuthResult(success=True)
        self.answers.append(await server.challenge_auth(CHALLENGE))
        return AuthResult(success=False, handled=False)

    async def handle_DATA(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Count the email."""
        self.emails += 1
        return "250 2.0.0 Accepted"


Key = ec.EllipticCurvePrivateKey


def builder(name: str, key: Key, issuer: str, issuer_key: Key) -> x509.CertificateBuilder:
    """Return a builder of a certificate that is valid today. Since Python 3.13, TLS connections require both identifiers."""
    subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    start, end = timezone.now() - timedelta(days=1), timezone.now() + timedelta(days=1)
    certificate = x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number(), start, end)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    certificate = certificate.add_extension(authority, critical=False)
    return certificate.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def sign_ca(key: Key) -> x509.Certificate:
    """Return the certificate of a private CA."""
    ca = builder("Private CA", key, "Private CA", key)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), False)
    usage |= dict.fromkeys(("key_agreement", "crl_sign", "encipher_only", "decipher_only"), False)
    return ca.add_extension(x509.KeyUsage(key_cert_sign=True, **usage), critical=True).sign(key, hashes.SHA256())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `ca.pem`, a private CA, and `relay.pem`, its certificate for localhost with the key."""
    path, (ca_key, key) = tmp_path_factory.mktemp("tls"), (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    relay = builder("relay", key, "Private CA", ca_key).add_extension(names, critical=False).sign(ca_key, hashes.SHA256())
    (path / "ca.pem").write_bytes(sign_ca(ca_key).public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (path / "relay.pem").write_bytes(relay.public_bytes(Encoding.PEM) + private)
    return path


@pytest.fixture
def server(folder: Path) -> Iterator[Controller]:
    """Run a server with STARTTLS and XOAUTH2."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "relay.pem")
    controller = Controller(TokenHandler(), hostname="127.0.0.1", port=free_port(), tls_context=tls, require_starttls=True)
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()


async def send(url: str) -> SendResult:
    """Send an email to the relay of this URL."""
    relay = parse_email_url(url)
    assert relay is not None
    connection = open_connection(relay)
    result = await connection.send(unsaved_email())
    await connection.close()
    return result


def login_url(server: Controller, folder: Path, option: str) -> str:
    """Return the URL for a login as Ada with the private CA and this source of the token."""
    address = f"ada%40example.com@localhost:{server.port}"
    return f"smtp+starttls://{address}?timeout=10&ca_file={folder}/ca.pem&auth=xoauth2&{option}"


@pytest.mark.parametrize("options", ["ca_file={folder}/ca.pem", "verify=false"])
async def test_sends_to_a_relay_with_a_certificate_of_a_private_ca(server: Controller, folder: Path, options: str) -> None:
    url = f"smtp+starttls://localhost:{server.port}"

    refused = await send(url)
    accepted = await send(f"{url}?{options.format(folder=folder)}")

    assert (refused.failure_kind, "certificate verify failed" in refused.error) == (FailureKind.RELAY_UNAVAILABLE, True)
    assert (accepted.error, server.handler.emails) == ("", 1)


@pytest.mark.parametrize(("option", "is_accepted"), [("ca_file={folder}/ca.pem", False), ("verify=false", True)])
async def test_a_ca_file_does_not_disable_the_check_of_the_name(
    server: Controller, folder: Path, option: str, is_accepted: bool
) -> None:
    result = await send(f"smtp+starttls://127.0.0.1:{server.port}?{option.format(folder=folder)}")

    assert (result.error == "", server.handler.emails) == (is_accepted, int(is_accepted))


async def test_logs_in_with_the_token_of_a_file(server: Controller, folder: Path, tmp_path: Path) -> None:
    url = login_url(server, folder, f"token_file={tmp_path}/token")
    (tmp_path / "token").write_text("expired")
    rejected = await send(url)
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    accepted = await send(url)

    assert (rejected.failure_kind, rejected.error[:9]) == (FailureKind.RELAY_UNAVAILABLE, "535 5.7.8")
    assert (accepted.error, server.handler.emails) == ("", 1)
    assert server.handler.answers == [b""]  # the challenge was answered with an empty line
    assert server.handler.logins[1] == f"user=ada@example.com\x01auth=Bearer {TOKEN}\x01\x01".encode()


async def test_logs_in_with_the_token_of_a_command(server: Controller, folder: Path) -> None:
    result = await send(login_url(server, folder, f"token_command={quote(f'/bin/echo {TOKEN}')}"))

    assert (result.error, server.handler.emails) == ("", 1)
    assert TOKEN not in result.smtp_transcript


async def test_a_failed_token_command_makes_the_relay_unavailable() -> None:
    command = quote(f"""{sys.executable} -c "print('{TOKEN}'); raise SystemExit(2)" """)

    async with fake_relay(lambda step: "250-relay\r\n250 AUTH XOAUTH2" if step.verb == "EHLO" else None) as relay:
        result = await send(f"smtp://ada@127.0.0.1:{relay.port}?auth=xoauth2&token_command={command}")

    assert result.failure_kind == FailureKind.RELAY_UNAVAILABLE
    assert result.error == "AccessTokenError: token_command of EMAIL_URL failed with exit code 2"
    assert not [command for command in relay.commands if command.startswith("AUTH")]


@pytest.mark.parametrize("echo", ["{0}", "{0}".rjust(60) + " {0}", "'{0}'", "AUTH XOAUTH2 {0:.40}"])
async def test_removes_the_token_from_a_reply_that_repeats_it(tmp_path: Path, echo: str) -> None:
    (tmp_path / "token").write_text(TOKEN)

    def script(step: SmtpStep) -> str | None:
        auth = "500 5.5.1 Unknown: " + echo.format(step.argument.removeprefix("XOAUTH2 ")) if step.verb == "AUTH" else None
        return "250-relay\r\n250 AUTH XOAUTH2" if step.verb == "EHLO" else auth

    async with fake_relay(script) as relay:
        result = await send(f"smtp://ada@127.0.0.1:{relay.port}?auth=xoauth2&token_file={tmp_path}/token")

    assert (result.failure_kind, result.error[:18]) == (FailureKind.RELAY_UNAVAILABLE, "500 5.5.1 Unknown:")
    assert "dXNlcj1hZGEBYXV0aD1CZWFyZXIg" not in result.error + str(result.reply)  # Base64 of its beginning


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN"])
async def test_removes_the_password_from_a_reply_that_repeats_it(method: str) -> None:
    received: list[str] = []

    def script(step: SmtpStep) -> str | None:
        if step.verb == "EHLO":
            return f"250-relay\r\n250 AUTH {method}"
        if step.verb in ("MAIL", "RCPT", "DATA", "QUIT", "GREETING", "MESSAGE"):
            return None
        received.append((step.argument or step.verb).split()[-1])
        return "334 VXNlcm5hbWU6" if len(received) < 2 and method == "LOGIN" else f"535 5.7.8 Rejected {received[-1]}"

    async with fake_relay(script) as relay:
        result = await send(f"smtp://ada:hunter2hunter2@127.0.0.1:{relay.port}")

    assert result.error == "535 5.7.8 Rejected …"
    assert received[-1] not in result.error


async def test_a_relay_without_xoauth2_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    async with fake_relay() as relay:
        result = await send(f"smtp://ada@127.0.0.1:{relay.port}?auth=xoauth2&token_file={tmp_path}/token")

    assert (result.failure_kind, relay.emails_started) == (FailureKind.RELAY_UNAVAILABLE, 0)
    assert "does not support XOAUTH2" in result.error


@pytest.mark.parametrize("name", ["mail.example.com", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
async def test_greets_the_relay_with_the_ehlo_name(name: str) -> None:
    async with fake_relay() as relay:
        result = await send(f"smtp://127.0.0.1:{relay.port}?ehlo_name={name}")

    assert (result.error, relay.commands[0]) == ("", f"EHLO {name}")
