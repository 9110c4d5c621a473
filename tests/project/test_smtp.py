"""The SMTP transport, in real conversations."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.utils import timezone

from project.outbox.replies import Reply
from project.outbox.retry import Fault
from project.outbox.transports.smtp import SmtpChannel, SmtpTransport
from project.relay import Relay
from tests.processes import free_port
from tests.project.relays import HANG_UP, Special, Step, relay_that, unstored, until

pytestmark = pytest.mark.anyio

TAKEN = Reply(250, "2.0.0 Taken")
PASSWORD = "hunter2hunter2"


def channel_to(relay: Relay) -> SmtpChannel:
    """One that has not connected."""
    return SmtpTransport(relay).channel()


def once(verb: str, answer: str, *, mail: int = 1) -> Special:
    """Answer one command of the n-th mail so, and no other."""
    waiting = [answer]

    def special(step: Step) -> str | None:
        return waiting.pop() if waiting and (step.verb, step.mail) == (verb, mail) else None

    return special


# Connections


async def test_hands_over_the_bytes_that_were_stored() -> None:
    email = unstored("ada@example.com", "Bob <bob@example.com>")
    async with relay_that() as relay:
        channel = channel_to(relay.relay())

        outcome = await channel.send(email)
        await channel.close()

    assert (outcome.error, outcome.reply, outcome.refusals) == ("", TAKEN, {})
    assert relay.recipients == [["ada@example.com", "bob@example.com"]]
    assert relay.texts == [bytes(email.source.content) + b".\r\n"]


async def test_sends_many_mails_over_one_connection() -> None:
    async with relay_that() as relay:
        channel = channel_to(relay.relay())

        outcomes = [await channel.send(unstored(text=str(number))) for number in range(20)]
        await channel.close()

    assert [outcome.error for outcome in outcomes] == [""] * 20
    assert (relay.connections, len(relay.texts)) == (1, 20)


async def test_says_goodbye_and_connects_again_when_needed() -> None:
    async with relay_that() as relay:
        channel = channel_to(relay.relay())
        was_open = [channel.is_open]
        for _ in range(2):
            await channel.send(unstored())
            was_open.append(channel.is_open)
            await channel.close()
            was_open.append(channel.is_open)

    assert was_open == [False, True, False, True, False]
    assert (relay.connections, relay.commands.count("QUIT"), relay.open) == (2, 2, 0)


async def test_sends_only_to_those_that_are_not_settled() -> None:
    email = unstored("ada@example.com", "bob@example.com", "eve@example.com")
    email.settled = {"bob@example.com": {"status": "sent"}}
    async with relay_that() as relay:
        channel = channel_to(relay.relay())

        await channel.send(email)
        await channel.close()

    assert relay.recipients == [["ada@example.com", "eve@example.com"]]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
@pytest.mark.parametrize("answer", ["421 4.4.2 Idle for too long", HANG_UP])
async def test_a_connection_that_ended_between_two_mails_costs_the_second_no_try(verb: str, answer: str) -> None:
    async with relay_that(once(verb, answer, mail=2)) as relay:
        channel = channel_to(relay.relay())

        outcomes = [await channel.send(unstored(text=str(number))) for number in range(3)]
        await channel.close()

    assert [outcome.error for outcome in outcomes] == [""] * 3
    assert (relay.connections, len(relay.texts)) == (2, 3)


async def test_a_connection_that_the_relay_closed_while_nobody_spoke_is_opened_again() -> None:
    async with relay_that() as relay:
        channel = channel_to(relay.relay())
        await channel.send(unstored())
        relay.hang_up()
        await until(lambda: not channel.is_open)

        outcome = await channel.send(unstored())
        await channel.close()

    assert (outcome.error, relay.connections, len(relay.texts)) == ("", 2, 2)


async def test_a_connection_that_ended_at_the_last_recipient_costs_no_try() -> None:
    def special(step: Step) -> str | None:
        return "421 4.7.0 Enough" if (step.connection, step.mail, step.text) == (1, 2, "TO:<bob@example.com>") else None

    async with relay_that(special) as relay:
        channel = channel_to(relay.relay())

        outcomes = [await channel.send(unstored("ada@example.com", "bob@example.com")) for _ in range(2)]
        await channel.close()

    assert [outcome.error for outcome in outcomes] == ["", ""]
    assert relay.recipients == [["ada@example.com", "bob@example.com"]] * 2


@pytest.mark.parametrize("answer", ["421 4.7.0 Enough", HANG_UP])
async def test_a_fresh_connection_that_ends_is_a_try(answer: str) -> None:
    async with relay_that(lambda step: answer if step.verb == "MAIL" else None) as relay:
        channel = channel_to(relay.relay())

        outcome = await channel.send(unstored())
        await channel.close()

    assert (bool(outcome.error), outcome.fault) == (True, Fault.MESSAGE_TRANSIENT)
    assert relay.connections == 1


async def test_a_relay_that_turns_every_connection_away_is_at_fault() -> None:
    async with relay_that(lambda step: "421 4.7.0 Too many" if step.verb == "GREETING" else None) as relay:
        channel = channel_to(relay.relay())

        outcome = await channel.send(unstored())

    assert (outcome.fault, outcome.reply, channel.is_open) == (Fault.RELAY, Reply(421, "4.7.0 Too many"), False)


async def test_a_relay_that_is_not_there_is_at_fault() -> None:
    channel = channel_to(Relay("127.0.0.1", free_port()))

    outcome = await channel.send(unstored())

    assert outcome.fault == Fault.RELAY
    assert outcome.error.startswith("SMTPConnectError: ")


async def test_a_relay_that_does_not_answer_in_time_is_given_up() -> None:
    async with asyncio.timeout(20), relay_that(once("MAIL", "250-and so on\r\n250-and so on")) as relay:
        channel = channel_to(relay.relay(timeout=0.1))

        outcome = await channel.send(unstored())

    assert (outcome.fault, channel.is_open) == (Fault.MESSAGE_TRANSIENT, False)
    assert outcome.error.startswith("SMTPReadTimeoutError: ")


async def test_what_is_cut_off_in_the_middle_waits_for_no_goodbye() -> None:
    async with relay_that(once("MESSAGE", "250-not yet")) as relay:
        channel = channel_to(relay.relay(timeout=600))
        sending = asyncio.create_task(channel.send(unstored()))
        await until(lambda: bool(relay.texts))

        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        async with asyncio.timeout(1):
            await channel.close()

    assert not channel.is_open
    assert "QUIT" not in relay.commands


async def test_a_relay_that_does_not_say_goodbye_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.outbox.transports.conversation.GOODBYE", 0.05)
    async with relay_that(lambda step: "221-not yet" if step.verb == "QUIT" else None) as relay:
        channel = channel_to(relay.relay(timeout=600))
        await channel.send(unstored())

        async with asyncio.timeout(20):
            await channel.close()

    assert not channel.is_open


# Refusals


async def test_a_mail_may_be_refused_for_some_and_taken_for_others() -> None:
    def special(step: Step) -> str | None:
        if step.verb != "RCPT":
            return None
        return {"TO:<bad@example.com>": "550 5.1.1 No such user", "TO:<full@example.com>": "452 4.2.2 Full"}.get(step.text)

    async with relay_that(special) as relay:
        channel = channel_to(relay.relay())
        outcome = await channel.send(unstored("bad@example.com", "ada@example.com", "full@example.com"))
        await channel.close()

    assert (outcome.error, outcome.reply) == ("", TAKEN)
    assert outcome.refusals == {
        "bad@example.com": Reply(550, "5.1.1 No such user"),
        "full@example.com": Reply(452, "4.2.2 Full"),
    }
    assert relay.recipients == [["ada@example.com"]]


@pytest.mark.parametrize(
    ("verb", "answer", "fault"),
    [
        ("MAIL", "550 5.7.1 Not you", Fault.MESSAGE_PERMANENT),
        ("MAIL", "552 5.3.4 Message size exceeds fixed limit", Fault.MESSAGE_PERMANENT),
        ("MAIL", "451 4.3.0 Later", Fault.MESSAGE_TRANSIENT),
        ("RCPT", "550 5.1.1 No such user", Fault.MESSAGE_PERMANENT),
        ("RCPT", "450 4.2.0 Greylisted", Fault.MESSAGE_TRANSIENT),
        ("DATA", "554 5.5.1 No", Fault.MESSAGE_PERMANENT),
        ("MESSAGE", "550 5.7.1 Spam", Fault.MESSAGE_PERMANENT),
        ("MESSAGE", "452 4.3.1 Disk full", Fault.MESSAGE_TRANSIENT),
    ],
)
async def test_a_refused_mail_is_no_hindrance_to_the_next(verb: str, answer: str, fault: Fault) -> None:
    async with relay_that(once(verb, answer)) as relay:
        channel = channel_to(relay.relay())

        refused, taken = [await channel.send(unstored()) for _ in range(2)]
        await channel.close()

    assert (refused.fault, refused.reply) == (fault, Reply(int(answer[:3]), answer[4:]))
    assert refused.error
    assert (taken.error, relay.connections) == ("", 1)


@pytest.mark.parametrize(
    ("verb", "answer"), [("MAIL", "what?"), ("MAIL", "299 Hm"), ("MESSAGE", "what?"), ("MESSAGE", "251 Sure")]
)
async def test_an_answer_that_makes_no_sense_may_pass_and_ends_the_connection(verb: str, answer: str) -> None:
    async with relay_that(once(verb, answer)) as relay:
        channel = channel_to(relay.relay())

        odd, taken = [await channel.send(unstored()) for _ in range(2)]
        await channel.close()

    assert (bool(odd.error), odd.fault) == (True, Fault.MESSAGE_TRANSIENT)
    assert (taken.error, relay.connections) == ("", 2)


async def test_a_relay_that_hangs_up_at_the_message_may_have_taken_it_so_nothing_is_sent_at_once() -> None:
    async with relay_that(once("MESSAGE", HANG_UP, mail=2)) as relay:
        channel = channel_to(relay.relay())
        await channel.send(unstored())

        outcome = await channel.send(unstored())

    assert (outcome.error.partition(":")[0], outcome.fault) == ("SMTPServerDisconnected", Fault.MESSAGE_TRANSIENT)
    assert (relay.connections, relay.began, channel.is_open) == (1, 2, False)


async def test_an_address_that_cannot_be_sent_to_fails_its_own_mail_alone() -> None:
    bad = unstored()
    bad.recipients = ["ü@example.com"]
    async with relay_that() as relay:
        channel = channel_to(relay.relay())

        outcomes = [await channel.send(email) for email in (bad, unstored())]
        await channel.close()

    assert ([bool(outcome.error) for outcome in outcomes], relay.connections) == ([True, False], 2)
    assert outcomes[0].fault == Fault.MESSAGE_PERMANENT


# The dialogue


async def test_tells_the_conversation_of_each_mail_alone() -> None:
    email = unstored("bad@example.com", "ada@example.com")
    async with relay_that(lambda step: "550 5.1.1 No such user" if step.text == "TO:<bad@example.com>" else None) as relay:
        channel = channel_to(relay.relay())
        first = await channel.send(unstored("eve@example.com"))
        outcome = await channel.send(email)
        await channel.close()

    assert first.dialogue.startswith("C: MAIL FROM:<shop@example.com>\n")
    assert outcome.dialogue.splitlines() == [
        "C: MAIL FROM:<shop@example.com>",
        "S: 250 2.0.0 OK",
        "C: RCPT TO:<bad@example.com>",
        "S: 550 5.1.1 No such user",
        "C: RCPT TO:<ada@example.com>",
        "S: 250 2.0.0 OK",
        "C: DATA",
        "S: 354 Go on",
        f"C: ({len(email.source.content)} bytes)",
        "S: 250 2.0.0 Taken",
    ]


async def test_tells_what_was_said_when_the_message_is_refused() -> None:
    async with relay_that(once("MESSAGE", "550-5.7.1 Spam,\r\n550 5.7.1 we think")) as relay:
        channel = channel_to(relay.relay())

        outcome = await channel.send(unstored())
        await channel.close()

    assert outcome.dialogue.endswith("S: 550 5.7.1 Spam,\nS: 550 5.7.1 we think")


# A relay with a size limit, a login and TLS


class Strict:
    """A handler of aiosmtpd that takes every mail of whom the server lets in."""

    def __init__(self) -> None:
        self.mails: list[bytes | str | None] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Take it."""
        self.mails.append(envelope.content)
        return "250 2.0.0 Taken"


def knows_ada(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: LoginPassword) -> AuthResult:
    """Let Ada in."""
    return AuthResult(success=login == LoginPassword(b"ada", PASSWORD.encode()), handled=False)


@contextmanager
def strict_relay(**options: Any) -> Iterator[tuple[int, Strict]]:
    """A server of aiosmtpd with these options. Gives its port, and what it takes."""
    handler = Strict()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port, handler
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that it signed itself, and its key, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(timezone.now() - timedelta(days=1)).not_valid_after(timezone.now() + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = builder.sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """What a server with that certificate speaks."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def _trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


async def test_a_mail_that_is_larger_than_the_relay_takes_is_not_sent_at_all() -> None:
    with strict_relay(data_size_limit=1000) as (port, handler):
        channel = channel_to(Relay("127.0.0.1", port))

        outcomes = [await channel.send(unstored(text=text)) for text in ("long " * 1000, "short")]
        await channel.close()

    assert [(outcome.reply or Reply(0, "")).code for outcome in outcomes] == [552, 250]
    assert (outcomes[0].fault, len(handler.mails)) == (Fault.MESSAGE_PERMANENT, 1)
    assert "DATA" not in outcomes[0].dialogue


@pytest.mark.usefixtures("_trusted")
async def test_logs_in_and_keeps_nothing_of_it(tls: ssl.SSLContext) -> None:
    with strict_relay(tls_context=tls, authenticator=knows_ada, auth_required=True) as (port, handler):
        channel = channel_to(Relay("127.0.0.1", port, starttls=True, username="ada", password=PASSWORD))

        outcome = await channel.send(unstored())
        await channel.close()

    assert (outcome.error, len(handler.mails)) == ("", 1)
    assert outcome.dialogue.startswith("C: MAIL FROM:<shop@example.com>")
    assert "AUTH" not in outcome.dialogue


@pytest.mark.usefixtures("_trusted")
async def test_a_login_that_is_refused_is_the_relays_fault(tls: ssl.SSLContext) -> None:
    with strict_relay(tls_context=tls, authenticator=knows_ada, auth_required=True) as (port, handler):
        channel = channel_to(Relay("127.0.0.1", port, starttls=True, username="ada", password="wrong"))

        outcome = await channel.send(unstored())

    assert (outcome.fault, handler.mails) == (Fault.RELAY, [])
    assert outcome.error.startswith("SMTPAuthenticationError: ")
    assert "wrong" not in outcome.error + outcome.dialogue


@pytest.mark.usefixtures("_trusted")
async def test_sends_over_starttls(tls: ssl.SSLContext) -> None:
    with strict_relay(tls_context=tls, require_starttls=True) as (port, handler):
        channel = channel_to(Relay("127.0.0.1", port, starttls=True))

        outcomes = [await channel.send(unstored()) for _ in range(2)]
        await channel.close()

    assert ([outcome.error for outcome in outcomes], len(handler.mails)) == (["", ""], 2)


@pytest.mark.usefixtures("_trusted")
async def test_sends_over_implicit_tls(tls: ssl.SSLContext) -> None:
    with strict_relay(ssl_context=tls) as (port, handler):
        channel = channel_to(Relay("127.0.0.1", port, implicit_tls=True))

        outcomes = [await channel.send(unstored()) for _ in range(2)]
        await channel.close()

    assert ([outcome.error for outcome in outcomes], len(handler.mails)) == (["", ""], 2)


@pytest.mark.parametrize("starttls", [True, False])
async def test_a_certificate_that_nobody_vouches_for_is_the_relays_fault(tls: ssl.SSLContext, starttls: bool) -> None:
    with strict_relay(**{"tls_context" if starttls else "ssl_context": tls}) as (port, handler):
        channel = channel_to(Relay("127.0.0.1", port, starttls=starttls, implicit_tls=not starttls))

        outcome = await channel.send(unstored())

    assert (outcome.fault, handler.mails, channel.is_open) == (Fault.RELAY, [], False)
    assert "certificate verify failed" in outcome.error


async def test_no_mail_goes_in_the_clear_to_a_relay_that_has_no_tls() -> None:
    async with relay_that() as relay:
        outcome = await channel_to(Relay("127.0.0.1", relay.port, starttls=True)).send(unstored())

    assert (outcome.fault, relay.began) == (Fault.RELAY, 0)
