"""The SMTP transport, and relays that refuse."""

import pytest

from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply
from tests.project.transports.fake_relay import HANG_UP, TAKEN, Step, fake_relay, open_connection, reply_once, unsaved_email

pytestmark = pytest.mark.anyio


async def test_a_mail_may_be_refused_for_some_and_taken_for_others() -> None:
    def special(step: Step) -> str | None:
        if step.verb != "RCPT":
            return None
        return {"TO:<bad@example.com>": "550 5.1.1 No such user", "TO:<full@example.com>": "452 4.2.2 Full"}.get(step.text)

    async with fake_relay(special) as relay:
        channel = open_connection(relay.relay())
        result = await channel.send(unsaved_email("bad@example.com", "ada@example.com", "full@example.com"))
        await channel.close()

    assert (result.error, result.reply) == ("", TAKEN)
    assert result.rejections == {
        "bad@example.com": Reply(550, "5.1.1 No such user"),
        "full@example.com": Reply(452, "4.2.2 Full"),
    }
    assert relay.recipients == [["ada@example.com"]]


@pytest.mark.parametrize(
    ("verb", "answer", "failure_kind"),
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
async def test_a_refused_mail_is_no_hindrance_to_the_next(verb: str, answer: str, failure_kind: FailureKind) -> None:
    async with fake_relay(reply_once(verb, answer)) as relay:
        channel = open_connection(relay.relay())

        refused, taken = [await channel.send(unsaved_email()) for _ in range(2)]
        await channel.close()

    assert (refused.failure_kind, refused.reply) == (failure_kind, Reply(int(answer[:3]), answer[4:]))
    assert refused.error
    assert (taken.error, relay.connections) == ("", 1)


@pytest.mark.parametrize(
    ("verb", "answer"), [("MAIL", "what?"), ("MAIL", "299 Hm"), ("MESSAGE", "what?"), ("MESSAGE", "354 Sure")]
)
async def test_an_answer_that_makes_no_sense_may_pass_and_ends_the_connection(verb: str, answer: str) -> None:
    async with fake_relay(reply_once(verb, answer)) as relay:
        channel = open_connection(relay.relay())

        odd, taken = [await channel.send(unsaved_email()) for _ in range(2)]
        await channel.close()

    assert (bool(odd.error), odd.failure_kind) == (True, FailureKind.TEMPORARY)
    assert (taken.error, relay.connections) == ("", 2)


async def test_a_mail_that_is_taken_in_other_words_is_taken() -> None:
    async with fake_relay(reply_once("MESSAGE", "251 2.0.0 Taken, and forwarded")) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email())

    assert (result.error, result.reply) == ("", Reply(251, "2.0.0 Taken, and forwarded"))


@pytest.mark.parametrize("answer", [HANG_UP, "421 4.3.0 Enough"])
async def test_what_a_relay_said_of_a_recipient_stands_when_it_hangs_up_after_it(answer: str) -> None:
    answers = {"RCPT": "550 5.1.1 No such user", "RSET": answer}
    async with fake_relay(lambda step: answers.get(step.verb)) as relay:
        channel = open_connection(relay.relay())
        result = await channel.send(unsaved_email())

    assert result.rejections == {"ada@example.com": Reply(550, "5.1.1 No such user")}
    assert (result.failure_kind, channel.is_open) == (FailureKind.PERMANENT, False)


@pytest.mark.parametrize("verb", ["DATA", "MESSAGE"])
async def test_what_a_relay_said_of_a_recipient_stands_when_it_refuses_the_mail(verb: str) -> None:
    def special(step: Step) -> str | None:
        if step.verb == "RCPT" and "bob" in step.text:
            return "550 5.1.1 No such user"
        return "554 5.7.1 Spam" if step.verb == verb else None

    async with fake_relay(special) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email("ada@example.com", "bob@example.com"))

    assert result.rejections == {"bob@example.com": Reply(550, "5.1.1 No such user")}
    assert (result.error, result.reply) == ("554 5.7.1 Spam", Reply(554, "5.7.1 Spam"))


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_a_relay_that_lets_nobody_in_is_at_fault_and_is_left(verb: str) -> None:
    async with fake_relay(reply_once(verb, "530 5.7.0 Must issue a STARTTLS command first")) as relay:
        channel = open_connection(relay.relay())
        result = await channel.send(unsaved_email())

    assert (result.failure_kind, channel.is_open) == (FailureKind.RELAY_UNAVAILABLE, False)


async def test_what_is_said_of_the_sender_is_said_of_no_recipient() -> None:
    async with fake_relay(reply_once("MAIL", "553 5.1.3 User address required")) as relay:
        result = await open_connection(relay.relay()).send(unsaved_email())

    assert (result.sender_rejected, result.rejections, result.reply) == (True, {}, Reply(553, "5.1.3 User address required"))


async def test_a_relay_that_hangs_up_at_the_message_may_have_taken_it_so_nothing_is_sent_at_once() -> None:
    async with fake_relay(reply_once("MESSAGE", HANG_UP, mail=2)) as relay:
        channel = open_connection(relay.relay())
        await channel.send(unsaved_email())

        result = await channel.send(unsaved_email())

    assert (result.error.partition(":")[0], result.failure_kind) == ("SMTPServerDisconnected", FailureKind.TEMPORARY)
    assert (relay.connections, relay.began, channel.is_open) == (1, 2, False)


async def test_an_address_that_cannot_be_sent_to_fails_its_own_mail_alone() -> None:
    bad = unsaved_email()
    bad.recipients = ["ü@example.com"]
    async with fake_relay() as relay:
        channel = open_connection(relay.relay())

        results = [await channel.send(email) for email in (bad, unsaved_email())]
        await channel.close()

    assert ([bool(result.error) for result in results], relay.connections) == ([True, False], 2)
    assert results[0].failure_kind == FailureKind.PERMANENT
