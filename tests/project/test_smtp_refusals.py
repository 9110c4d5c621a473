"""The SMTP transport, and relays that refuse."""

import pytest

from project.outbox.replies import Reply
from project.outbox.retry import Fault
from tests.project.relays import HANG_UP, TAKEN, Step, channel_to, once, relay_that, unstored

pytestmark = pytest.mark.anyio


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
    ("verb", "answer"), [("MAIL", "what?"), ("MAIL", "299 Hm"), ("MESSAGE", "what?"), ("MESSAGE", "354 Sure")]
)
async def test_an_answer_that_makes_no_sense_may_pass_and_ends_the_connection(verb: str, answer: str) -> None:
    async with relay_that(once(verb, answer)) as relay:
        channel = channel_to(relay.relay())

        odd, taken = [await channel.send(unstored()) for _ in range(2)]
        await channel.close()

    assert (bool(odd.error), odd.fault) == (True, Fault.MESSAGE_TRANSIENT)
    assert (taken.error, relay.connections) == ("", 2)


async def test_a_mail_that_is_taken_in_other_words_is_taken() -> None:
    async with relay_that(once("MESSAGE", "251 2.0.0 Taken, and forwarded")) as relay:
        outcome = await channel_to(relay.relay()).send(unstored())

    assert (outcome.error, outcome.reply) == ("", Reply(251, "2.0.0 Taken, and forwarded"))


@pytest.mark.parametrize("answer", [HANG_UP, "421 4.3.0 Enough"])
async def test_what_a_relay_said_of_a_recipient_stands_when_it_hangs_up_after_it(answer: str) -> None:
    answers = {"RCPT": "550 5.1.1 No such user", "RSET": answer}
    async with relay_that(lambda step: answers.get(step.verb)) as relay:
        channel = channel_to(relay.relay())
        outcome = await channel.send(unstored())

    assert outcome.refusals == {"ada@example.com": Reply(550, "5.1.1 No such user")}
    assert (outcome.fault, channel.is_open) == (Fault.MESSAGE_PERMANENT, False)


@pytest.mark.parametrize("verb", ["DATA", "MESSAGE"])
async def test_what_a_relay_said_of_a_recipient_stands_when_it_refuses_the_mail(verb: str) -> None:
    def special(step: Step) -> str | None:
        if step.verb == "RCPT" and "bob" in step.text:
            return "550 5.1.1 No such user"
        return "554 5.7.1 Spam" if step.verb == verb else None

    async with relay_that(special) as relay:
        outcome = await channel_to(relay.relay()).send(unstored("ada@example.com", "bob@example.com"))

    assert outcome.refusals == {"bob@example.com": Reply(550, "5.1.1 No such user")}
    assert (outcome.error, outcome.reply) == ("554 5.7.1 Spam", Reply(554, "5.7.1 Spam"))


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_a_relay_that_lets_nobody_in_is_at_fault_and_is_left(verb: str) -> None:
    async with relay_that(once(verb, "530 5.7.0 Must issue a STARTTLS command first")) as relay:
        channel = channel_to(relay.relay())
        outcome = await channel.send(unstored())

    assert (outcome.fault, channel.is_open) == (Fault.RELAY, False)


async def test_what_is_said_of_the_sender_is_said_of_no_recipient() -> None:
    async with relay_that(once("MAIL", "553 5.1.3 User address required")) as relay:
        outcome = await channel_to(relay.relay()).send(unstored())

    assert (outcome.of_sender, outcome.refusals, outcome.reply) == (True, {}, Reply(553, "5.1.3 User address required"))


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
