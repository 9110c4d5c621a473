"""The SMTP transport, in real conversations: its connections, and what it tells of them."""

import asyncio

import pytest

from project.config.email_url import Relay
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply
from tests.processes import PATIENCE, free_port
from tests.project.transports.fake_relay import (
    HANG_UP,
    TAKEN,
    Step,
    fake_relay,
    open_connection,
    reply_once,
    unsaved_email,
    until,
)

pytestmark = pytest.mark.anyio


# Connections


async def test_hands_over_the_bytes_that_were_stored() -> None:
    email = unsaved_email("ada@example.com", "Bob <bob@example.com>")
    async with fake_relay() as relay:
        channel = open_connection(relay.relay())

        result = await channel.send(email)
        await channel.close()

    assert (result.error, result.reply, result.rejections) == ("", TAKEN, {})
    assert relay.recipients == [["ada@example.com", "bob@example.com"]]
    assert relay.texts == [bytes(email.raw_message.content) + b".\r\n"]


async def test_sends_many_mails_over_one_connection() -> None:
    async with fake_relay() as relay:
        channel = open_connection(relay.relay())

        results = [await channel.send(unsaved_email(text=str(number))) for number in range(20)]
        await channel.close()

    assert [result.error for result in results] == [""] * 20
    assert (relay.connections, len(relay.texts)) == (1, 20)


async def test_says_goodbye_and_connects_again_when_needed() -> None:
    async with fake_relay() as relay:
        channel = open_connection(relay.relay())
        was_open = [channel.is_open]
        for _ in range(2):
            await channel.send(unsaved_email())
            was_open.append(channel.is_open)
            await channel.close()
            was_open.append(channel.is_open)

    assert was_open == [False, True, False, True, False]
    assert (relay.connections, relay.commands.count("QUIT"), relay.open) == (2, 2, 0)


async def test_sends_only_to_those_that_are_not_settled() -> None:
    email = unsaved_email("ada@example.com", "bob@example.com", "eve@example.com")
    email.recipient_results = {"bob@example.com": {"status": "sent"}}
    async with fake_relay() as relay:
        channel = open_connection(relay.relay())

        await channel.send(email)
        await channel.close()

    assert relay.recipients == [["ada@example.com", "eve@example.com"]]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
@pytest.mark.parametrize("answer", ["421 4.4.2 Idle for too long", HANG_UP])
async def test_a_connection_that_ended_between_two_mails_costs_the_second_no_try(verb: str, answer: str) -> None:
    async with fake_relay(reply_once(verb, answer, mail=2)) as relay:
        channel = open_connection(relay.relay())

        results = [await channel.send(unsaved_email(text=str(number))) for number in range(3)]
        await channel.close()

    assert [result.error for result in results] == [""] * 3
    assert (relay.connections, len(relay.texts)) == (2, 3)


async def test_a_connection_that_the_relay_closed_while_nobody_spoke_is_opened_again() -> None:
    async with fake_relay() as relay:
        channel = open_connection(relay.relay())
        await channel.send(unsaved_email())
        relay.hang_up()
        await until(lambda: not channel.is_open)

        result = await channel.send(unsaved_email())
        await channel.close()

    assert (result.error, relay.connections, len(relay.texts)) == ("", 2, 2)


async def test_a_connection_that_ended_at_the_last_recipient_costs_no_try() -> None:
    def special(step: Step) -> str | None:
        return "421 4.7.0 Enough" if (step.connection, step.mail, step.text) == (1, 2, "TO:<bob@example.com>") else None

    async with fake_relay(special) as relay:
        channel = open_connection(relay.relay())

        results = [await channel.send(unsaved_email("ada@example.com", "bob@example.com")) for _ in range(2)]
        await channel.close()

    assert [result.error for result in results] == ["", ""]
    assert relay.recipients == [["ada@example.com", "bob@example.com"]] * 2


@pytest.mark.parametrize("answer", ["421 4.7.0 Enough", HANG_UP])
async def test_a_fresh_connection_that_ends_is_a_try(answer: str) -> None:
    async with fake_relay(lambda step: answer if step.verb == "MAIL" else None) as relay:
        channel = open_connection(relay.relay())

        result = await channel.send(unsaved_email())
        await channel.close()

    assert (bool(result.error), result.failure_kind) == (True, FailureKind.TEMPORARY)
    assert relay.connections == 1


async def test_a_relay_that_turns_every_connection_away_is_at_fault() -> None:
    async with fake_relay(lambda step: "421 4.7.0 Too many" if step.verb == "GREETING" else None) as relay:
        channel = open_connection(relay.relay())

        result = await channel.send(unsaved_email())

    assert (result.failure_kind, result.reply, channel.is_open) == (
        FailureKind.RELAY_UNAVAILABLE,
        Reply(421, "4.7.0 Too many"),
        False,
    )


async def test_a_relay_that_is_not_there_is_at_fault() -> None:
    channel = open_connection(Relay("127.0.0.1", free_port()))

    result = await channel.send(unsaved_email())

    assert result.failure_kind == FailureKind.RELAY_UNAVAILABLE
    assert result.error.startswith("SMTPConnectError: ")


async def test_a_relay_that_does_not_answer_in_time_is_given_up() -> None:
    async with asyncio.timeout(PATIENCE), fake_relay(reply_once("MAIL", "250-and so on\r\n250-and so on")) as relay:
        channel = open_connection(relay.relay(timeout=0.1))

        result = await channel.send(unsaved_email())

    assert (result.failure_kind, channel.is_open) == (FailureKind.TEMPORARY, False)
    assert result.error.startswith("SMTPReadTimeoutError: ")


async def test_a_relay_has_longer_for_a_whole_mail_since_it_may_have_taken_it() -> None:
    async with fake_relay() as relay:
        relay.may_take.clear()
        channel = open_connection(relay.relay(timeout=0.05))
        sending = asyncio.create_task(channel.send(unsaved_email()))
        await until(lambda: "DATA" in relay.commands)
        given_up = asyncio.get_running_loop().time() + 0.2
        await until(lambda: asyncio.get_running_loop().time() > given_up)
        relay.may_take.set()

        result = await sending

    assert (result.error, len(relay.texts)) == ("", 1)


async def test_a_relay_that_never_says_what_became_of_a_mail_is_given_up() -> None:
    async with fake_relay() as relay:
        relay.may_take.clear()
        channel = open_connection(relay.relay(data_done_timeout=0.05))

        result = await channel.send(unsaved_email())

    assert (result.failure_kind, channel.is_open) == (FailureKind.TEMPORARY, False)
    assert result.error.startswith("SMTPReadTimeoutError: ")


async def test_what_is_cut_off_in_the_middle_waits_for_no_goodbye() -> None:
    async with fake_relay(reply_once("MESSAGE", "250-not yet")) as relay:
        channel = open_connection(relay.relay(timeout=600))
        sending = asyncio.create_task(channel.send(unsaved_email()))
        await until(lambda: bool(relay.texts))

        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        async with asyncio.timeout(PATIENCE):
            await channel.close()

    assert not channel.is_open
    assert "QUIT" not in relay.commands


async def test_a_relay_that_does_not_say_goodbye_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.transports.smtp.protocol.QUIT_TIMEOUT_SECONDS", 0.05)
    async with fake_relay(lambda step: "221-not yet" if step.verb == "QUIT" else None) as relay:
        channel = open_connection(relay.relay(timeout=600))
        await channel.send(unsaved_email())

        async with asyncio.timeout(PATIENCE):
            await channel.close()

    assert not channel.is_open


# The dialogue


async def test_tells_the_conversation_of_each_mail_alone() -> None:
    email = unsaved_email("bad@example.com", "ada@example.com")
    async with fake_relay(lambda step: "550 5.1.1 No such user" if step.text == "TO:<bad@example.com>" else None) as relay:
        channel = open_connection(relay.relay())
        first = await channel.send(unsaved_email("eve@example.com"))
        result = await channel.send(email)
        await channel.close()

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
        "S: 250 2.0.0 Taken",
    ]


async def test_tells_what_was_said_when_the_message_is_refused() -> None:
    async with fake_relay(reply_once("MESSAGE", "550-5.7.1 Spam,\r\n550 5.7.1 we think")) as relay:
        channel = open_connection(relay.relay())

        result = await channel.send(unsaved_email())
        await channel.close()

    assert result.smtp_transcript.endswith("S: 550 5.7.1 Spam,\nS: 550 5.7.1 we think")
