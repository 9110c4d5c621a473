"""The SMTP transport against a real server: its connections and its transcripts."""

import asyncio

import pytest

from project.config.email_url import Relay
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.processes import WAIT_TIMEOUT_SECONDS, free_port
from tests.project.transports.fake_relay import (
    ACCEPTED,
    DISCONNECT,
    SmtpStep,
    fake_relay,
    open_connection,
    reply_once,
    unsaved_email,
    until,
)

pytestmark = pytest.mark.anyio


# Connections


async def test_sends_the_stored_bytes() -> None:
    email = unsaved_email("ada@example.com", "Bob <bob@example.com>")
    async with fake_relay() as relay:
        connection = open_connection(relay.relay())

        result = await connection.send(email)
        await connection.close()

    assert (result.error, result.reply, result.rejections) == ("", ACCEPTED, {})
    assert relay.recipients == [["ada@example.com", "bob@example.com"]]
    assert relay.messages == [bytes(email.raw_message.content) + b".\r\n"]


async def test_sends_many_emails_over_one_connection() -> None:
    async with fake_relay() as relay:
        connection = open_connection(relay.relay())

        results = [await connection.send(unsaved_email(text=str(number))) for number in range(20)]
        await connection.close()

    assert [result.error for result in results] == [""] * 20
    assert (relay.connections, len(relay.messages)) == (1, 20)


async def test_sends_quit_and_connects_again_for_the_next_email() -> None:
    async with fake_relay() as relay:
        connection = open_connection(relay.relay())
        was_open = [connection.is_open]
        for _ in range(2):
            await connection.send(unsaved_email())
            was_open.append(connection.is_open)
            await connection.close()
            was_open.append(connection.is_open)

    assert was_open == [False, True, False, True, False]
    assert (relay.connections, relay.commands.count("QUIT"), relay.open) == (2, 2, 0)


async def test_sends_only_to_recipients_without_a_final_result() -> None:
    email = unsaved_email("ada@example.com", "bob@example.com", "eve@example.com")
    email.recipient_results = {"bob@example.com": {"status": "sent"}}
    async with fake_relay() as relay:
        connection = open_connection(relay.relay())

        await connection.send(email)
        await connection.close()

    assert relay.recipients == [["ada@example.com", "eve@example.com"]]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
@pytest.mark.parametrize("reply", ["421 4.4.2 Idle for too long", DISCONNECT])
async def test_sends_again_at_once_if_the_relay_closed_the_connection_between_two_emails(verb: str, reply: str) -> None:
    async with fake_relay(reply_once(verb, reply, email=2)) as relay:
        connection = open_connection(relay.relay())

        results = [await connection.send(unsaved_email(text=str(number))) for number in range(3)]
        await connection.close()

    assert [result.error for result in results] == [""] * 3
    assert (relay.connections, len(relay.messages)) == (2, 3)


async def test_reconnects_if_the_relay_closed_the_idle_connection() -> None:
    async with fake_relay() as relay:
        connection = open_connection(relay.relay())
        await connection.send(unsaved_email())
        relay.disconnect_all()
        await until(lambda: not connection.is_open)

        result = await connection.send(unsaved_email())
        await connection.close()

    assert (result.error, relay.connections, len(relay.messages)) == ("", 2, 2)


async def test_sends_again_at_once_if_the_relay_closed_the_connection_at_the_last_recipient() -> None:
    def script(step: SmtpStep) -> str | None:
        return "421 4.7.0 Enough" if (step.connection, step.email, step.argument) == (1, 2, "TO:<bob@example.com>") else None

    async with fake_relay(script) as relay:
        connection = open_connection(relay.relay())

        results = [await connection.send(unsaved_email("ada@example.com", "bob@example.com")) for _ in range(2)]
        await connection.close()

    assert [result.error for result in results] == ["", ""]
    assert relay.recipients == [["ada@example.com", "bob@example.com"]] * 2


@pytest.mark.parametrize("reply", ["421 4.7.0 Enough", DISCONNECT])
async def test_a_new_connection_that_the_relay_closes_is_a_temporary_failure(reply: str) -> None:
    async with fake_relay(lambda step: reply if step.verb == "MAIL" else None) as relay:
        connection = open_connection(relay.relay())

        result = await connection.send(unsaved_email())
        await connection.close()

    assert (bool(result.error), result.failure_kind) == (True, FailureKind.TEMPORARY)
    assert relay.connections == 1


async def test_a_relay_that_rejects_every_connection_is_unavailable() -> None:
    async with fake_relay(lambda step: "421 4.7.0 Too many" if step.verb == "GREETING" else None) as relay:
        connection = open_connection(relay.relay())

        result = await connection.send(unsaved_email())

    assert (result.failure_kind, result.reply, connection.is_open) == (
        FailureKind.RELAY_UNAVAILABLE,
        Reply(421, "4.7.0 Too many"),
        False,
    )


async def test_a_relay_that_does_not_listen_is_unavailable() -> None:
    connection = open_connection(Relay("127.0.0.1", free_port()))

    result = await connection.send(unsaved_email())

    assert result.failure_kind == FailureKind.RELAY_UNAVAILABLE
    assert result.error.startswith("SMTPConnectError: ")


async def test_times_out_if_the_relay_does_not_reply() -> None:
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS), fake_relay(reply_once("MAIL", "250-and so on\r\n250-and so on")) as relay:
        connection = open_connection(relay.relay(timeout=0.1))

        result = await connection.send(unsaved_email())

    assert (result.failure_kind, connection.is_open) == (FailureKind.TEMPORARY, False)
    assert result.error.startswith("SMTPReadTimeoutError: ")


async def test_waits_longer_for_the_reply_to_a_message() -> None:
    async with fake_relay() as relay:
        relay.may_reply.clear()
        connection = open_connection(relay.relay(timeout=0.05))
        sending = asyncio.create_task(connection.send(unsaved_email()))
        await until(lambda: "DATA" in relay.commands)
        after_timeout = asyncio.get_running_loop().time() + 0.2
        await until(lambda: asyncio.get_running_loop().time() > after_timeout)
        relay.may_reply.set()

        result = await sending

    assert (result.error, len(relay.messages)) == ("", 1)


async def test_times_out_if_the_relay_does_not_reply_to_a_message() -> None:
    async with fake_relay() as relay:
        relay.may_reply.clear()
        connection = open_connection(relay.relay(data_done_timeout=0.05))

        result = await connection.send(unsaved_email())

    assert (result.failure_kind, connection.is_open) == (FailureKind.TEMPORARY, False)
    assert result.error.startswith("SMTPReadTimeoutError: ")


async def test_close_sends_no_quit_after_a_canceled_email() -> None:
    async with fake_relay(reply_once("MESSAGE", "250-not yet")) as relay:
        connection = open_connection(relay.relay(timeout=600))
        sending = asyncio.create_task(connection.send(unsaved_email()))
        await until(lambda: bool(relay.messages))

        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            await connection.close()

    assert not connection.is_open
    assert "QUIT" not in relay.commands


async def test_close_does_not_wait_long_for_the_reply_to_quit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.transports.smtp.protocol.QUIT_TIMEOUT_SECONDS", 0.05)
    async with fake_relay(lambda step: "221-not yet" if step.verb == "QUIT" else None) as relay:
        connection = open_connection(relay.relay(timeout=600))
        await connection.send(unsaved_email())

        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            await connection.close()

    assert not connection.is_open


# Transcripts


async def test_the_transcript_has_the_dialogue_of_its_email_only() -> None:
    email = unsaved_email("bad@example.com", "ada@example.com")
    async with fake_relay(lambda step: "550 5.1.1 No such user" if step.argument == "TO:<bad@example.com>" else None) as relay:
        connection = open_connection(relay.relay())
        first = await connection.send(unsaved_email("eve@example.com"))
        result = await connection.send(email)
        await connection.close()

    assert first.smtp_transcript.startswith("C: MAIL FROM:<shop@example.com>\n")
    assert result.smtp_transcript.splitlines() == [
        "C: MAIL FROM:<shop@example.com>",
        "S: 250 2.0.0 OK",
        "C: RCPT TO:<bad@example.com>",
        "S: 550 5.1.1 No such user",
        "C: RCPT TO:<ada@example.com>",
        "S: 250 2.0.0 OK",
        "C: DATA",
        "S: 354 Go on",
        f"C: ({len(email.raw_message.content)} bytes)",
        "S: 250 2.0.0 Accepted",
    ]


async def test_the_transcript_has_the_reply_to_a_rejected_message() -> None:
    async with fake_relay(reply_once("MESSAGE", "550-5.7.1 Spam,\r\n550 5.7.1 we think")) as relay:
        connection = open_connection(relay.relay())

        result = await connection.send(unsaved_email())
        await connection.close()

    assert result.smtp_transcript.endswith("S: 550 5.7.1 Spam,\nS: 550 5.7.1 we think")


async def test_closes_the_connection_if_the_relay_rejects_the_greeting() -> None:
    async with fake_relay(lambda step: "554 5.7.1 Go away" if step.verb in {"EHLO", "HELO"} else None) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email())
        _, still_open = await asyncio.wait(relay.sessions, timeout=10)

    assert (result.failure_kind, still_open) == (FailureKind.RELAY_UNAVAILABLE, set())
