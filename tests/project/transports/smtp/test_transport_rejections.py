"""The SMTP transport with relays that reject senders, recipients or messages."""

import pytest

from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.project.transports.fake_relay import (
    ACCEPTED,
    DISCONNECT,
    SmtpStep,
    fake_relay,
    open_connection,
    reply_once,
    unsaved_email,
)

pytestmark = pytest.mark.anyio


async def test_sends_to_accepted_recipients_and_returns_the_rejected_ones() -> None:
    def script(step: SmtpStep) -> str | None:
        if step.verb != "RCPT":
            return None
        return {"TO:<bad@example.com>": "550 5.1.1 No such user", "TO:<full@example.com>": "452 4.2.2 Full"}.get(step.argument)

    async with fake_relay(script) as relay:
        connection = open_connection(relay.relay())
        result = await connection.send(unsaved_email("bad@example.com", "ada@example.com", "full@example.com"))
        await connection.close()

    assert (result.error, result.reply) == ("", ACCEPTED)
    assert result.rejections == {
        "bad@example.com": Reply(550, "5.1.1 No such user"),
        "full@example.com": Reply(452, "4.2.2 Full"),
    }
    assert relay.recipients == [["ada@example.com"]]


@pytest.mark.parametrize(
    ("verb", "reply", "failure_kind"),
    [
        ("MAIL", "550 5.7.1 Not you", FailureKind.PERMANENT),
        ("MAIL", "552 5.3.4 Message size exceeds fixed limit", FailureKind.PERMANENT),
        ("MAIL", "451 4.3.0 Later", FailureKind.TEMPORARY),
        ("RCPT", "550 5.1.1 No such user", FailureKind.PERMANENT),
        ("RCPT", "450 4.2.0 Greylisted", FailureKind.TEMPORARY),
        ("DATA", "554 5.5.1 No", FailureKind.PERMANENT),
        ("MESSAGE", "550 5.7.1 Spam", FailureKind.PERMANENT),
        ("MESSAGE", "452 4.3.1 Disk full", FailureKind.TEMPORARY),
    ],
)
async def test_a_rejected_email_leaves_the_connection_usable(verb: str, reply: str, failure_kind: FailureKind) -> None:
    async with fake_relay(reply_once(verb, reply)) as relay:
        connection = open_connection(relay.relay())

        rejected, accepted = [await connection.send(unsaved_email()) for _ in range(2)]
        await connection.close()

    assert (rejected.failure_kind, rejected.reply) == (failure_kind, Reply(int(reply[:3]), reply[4:]))
    assert rejected.error
    assert (accepted.error, relay.connections) == ("", 1)


@pytest.mark.parametrize(
    ("verb", "reply"), [("MAIL", "what?"), ("MAIL", "299 Hm"), ("MESSAGE", "what?"), ("MESSAGE", "354 Sure")]
)
async def test_an_unexpected_reply_is_a_temporary_failure_and_closes_the_connection(verb: str, reply: str) -> None:
    async with fake_relay(reply_once(verb, reply)) as relay:
        connection = open_connection(relay.relay())

        unexpected, accepted = [await connection.send(unsaved_email()) for _ in range(2)]
        await connection.close()

    assert (bool(unexpected.error), unexpected.failure_kind) == (True, FailureKind.TEMPORARY)
    assert (accepted.error, relay.connections) == ("", 2)


async def test_any_2xx_reply_to_a_message_is_a_success() -> None:
    async with fake_relay(reply_once("MESSAGE", "251 2.0.0 Accepted, will forward")) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email())

    assert (result.error, result.reply) == ("", Reply(251, "2.0.0 Accepted, will forward"))


@pytest.mark.parametrize("reply", [DISCONNECT, "421 4.3.0 Enough"])
async def test_keeps_the_rejection_of_a_recipient_if_the_relay_then_disconnects(reply: str) -> None:
    replies = {"RCPT": "550 5.1.1 No such user", "RSET": reply}
    async with fake_relay(lambda step: replies.get(step.verb)) as relay:
        connection = open_connection(relay.relay())
        result = await connection.send(unsaved_email())

    assert result.rejections == {"ada@example.com": Reply(550, "5.1.1 No such user")}
    assert (result.failure_kind, connection.is_open) == (FailureKind.PERMANENT, False)


@pytest.mark.parametrize("verb", ["DATA", "MESSAGE"])
async def test_keeps_the_rejection_of_a_recipient_if_the_relay_then_rejects_the_message(verb: str) -> None:
    def script(step: SmtpStep) -> str | None:
        if step.verb == "RCPT" and "bob" in step.argument:
            return "550 5.1.1 No such user"
        return "554 5.7.1 Spam" if step.verb == verb else None

    async with fake_relay(script) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email("ada@example.com", "bob@example.com"))

    assert result.rejections == {"bob@example.com": Reply(550, "5.1.1 No such user")}
    assert (result.error, result.reply) == ("554 5.7.1 Spam", Reply(554, "5.7.1 Spam"))


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("code", [421, 451, 454, 530, 534, 535, 538])
async def test_a_reply_about_the_relay_counts_for_the_email_that_got_it(verb: str, code: int) -> None:
    async with fake_relay(reply_once(verb, f"{code} Not for you")) as relay:
        connection = open_connection(relay.relay())
        results = [await connection.send(unsaved_email()) for _ in range(2)]
        await connection.close()

    assert [result.failure_kind for result in results if result.error] == [FailureKind.TEMPORARY]
    assert results[0].error == f"{code} Not for you"


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_opens_a_new_connection_after_a_reply_about_the_login(verb: str) -> None:
    async with fake_relay(reply_once(verb, "530 5.7.0 Must issue a STARTTLS command first")) as relay:
        connection = open_connection(relay.relay())
        result = await connection.send(unsaved_email())

    assert (result.failure_kind, connection.is_open) == (FailureKind.TEMPORARY, False)


@pytest.mark.parametrize(
    ("verb", "reply", "suspected"),
    [
        ("MAIL", "451 4.3.0 Try later", True),
        ("MAIL", DISCONNECT, True),
        ("MAIL", "530 5.7.0 Log in first", True),
        ("RCPT", "421 4.3.2 Closing", True),
        ("RCPT", "530 5.7.0 Log in first", True),
        ("RCPT", "451 4.7.1 Greylisted", False),
        ("RCPT", "550 5.1.1 No such user", False),
        ("MESSAGE", "452 4.3.1 Disk full", True),
        ("MESSAGE", "554 5.7.1 Spam", False),
    ],
)
async def test_a_temporary_failure_that_is_not_about_a_recipient_may_be_the_relays(
    verb: str, reply: str, suspected: bool
) -> None:
    async with fake_relay(reply_once(verb, reply)) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email())

    assert result.may_be_relay_error == suspected


async def test_the_rejection_of_a_sender_is_not_a_rejection_of_a_recipient() -> None:
    async with fake_relay(reply_once("MAIL", "553 5.1.3 User address required")) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email())

    assert (result.sender_rejected, result.rejections, result.reply) == (True, {}, Reply(553, "5.1.3 User address required"))


async def test_does_not_send_again_at_once_if_the_relay_disconnects_after_the_message() -> None:
    async with fake_relay(reply_once("MESSAGE", DISCONNECT, email=2)) as relay:
        connection = open_connection(relay.relay())
        await connection.send(unsaved_email())

        result = await connection.send(unsaved_email())

    assert (result.error.partition(":")[0], result.failure_kind) == ("SMTPServerDisconnected", FailureKind.TEMPORARY)
    assert (relay.connections, relay.emails_started, connection.is_open) == (1, 2, False)


async def test_an_address_that_cannot_be_sent_fails_only_its_own_email() -> None:
    bad = unsaved_email()
    bad.recipients = ["ü@example.com"]
    async with fake_relay() as relay:
        connection = open_connection(relay.relay())

        results = [await connection.send(email) for email in (bad, unsaved_email())]
        await connection.close()

    assert ([bool(result.error) for result in results], relay.connections) == ([True, False], 2)
    assert results[0].failure_kind == FailureKind.PERMANENT


@pytest.mark.parametrize("line", ["garbage reply here", "Is anybody there?", "25x Nonsense", "250Nonsense"])
async def test_a_line_that_is_no_smtp_reply_is_shown_as_it_came(line: str) -> None:
    async with fake_relay(reply_once("MESSAGE", line)) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email())

    assert (str(result.reply), result.failure_kind) == (line, FailureKind.TEMPORARY)
    assert line in result.error
