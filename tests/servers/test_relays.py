"""Relays that are slow, narrow, picky or away: mail waits, and loses neither itself nor its chances."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import PASSWORD, StartServer
from tests.processes import PATIENCE, Server, free_port, wait_for
from tests.smtp import NO_SUCH_USER, STALL, TAKE, Sink, smtp_sink

DATABASE = "mailrail.sqlite3"
GREYLISTED = "451 4.7.1 Greylisted"
MAIL = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Your order", "text": "It is on its way."}


class Api:
    """The API, for an administrator."""

    def __init__(self, server: Server) -> None:
        form = {"username": "admin", "password": PASSWORD}
        token = server.post("/api/token", data=form).json()["access_token"]
        self._url, self._headers = f"{server.url}/api", {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        """What is there."""
        return httpx.get(self._url + path, headers=self._headers, timeout=PATIENCE).raise_for_status().json()

    def send(self, *emails: dict[str, Any]) -> list[str]:
        """Queue these at once. Gives their ids."""
        body = {"emails": emails}
        answer = httpx.post(f"{self._url}/emails/batch", json=body, headers=self._headers, timeout=PATIENCE)
        return [email["id"] for email in answer.raise_for_status().json()["data"]]

    def wait_for(self, status: str, ids: list[str]) -> list[dict[str, Any]]:
        """Return these of the newest 100 mails once all of them have this status."""

        def emails() -> list[dict[str, Any]]:
            return [email for email in self.get("/emails?limit=100")["data"] if email["id"] in ids]

        def all_have_it() -> bool:
            return {email["status"] for email in emails()} == {status}

        wait_for(all_have_it, f"all are {status}", lambda: str([(email["status"], email["last_error"]) for email in emails()]))
        return emails()


def test_many_mails_go_over_few_connections(start: StartServer, sink: Sink) -> None:
    api = Api(start(EMAIL_URL=f"{sink.url}?connections=3"))

    api.send(*[MAIL] * 200)
    wait_for(lambda: len(sink.mails) == 200, "all arrive")

    assert sink.connections == sink.most_open == 3
    assert sink.doubles == 0


def test_a_relay_that_ends_a_connection_after_every_fifth_mail_costs_no_mail_a_try(start: StartServer, sink: Sink) -> None:
    sink.mails_per_connection = 5
    api = Api(start(EMAIL_URL=f"{sink.url}?connections=3"))

    emails = api.wait_for("sent", api.send(*[MAIL] * 60))

    assert {email["attempts"] for email in emails} == {1}
    assert (len(sink.mails), sink.doubles) == (60, 0)
    assert sink.connections >= 60 / 5


def test_a_relay_that_takes_fewer_connections_than_we_have_gets_all_mails_over_those(start: StartServer, sink: Sink) -> None:
    sink.most_connections = 2
    server = start(EMAIL_URL=sink.url)
    api = Api(server)

    emails = api.wait_for("sent", api.send(*[MAIL] * 60))

    assert {email["attempts"] for email in emails} == {1}
    assert (len(sink.mails), sink.doubles, sink.most_open) == (60, 0, 2)
    assert "The relay does not work" not in server.log


def test_what_a_relay_says_of_each_recipient_is_told(start: StartServer, sink: Sink) -> None:
    sink.at_rcpt = lambda address, _: NO_SUCH_USER if address == "bob@example.com" else TAKE
    api = Api(start(EMAIL_URL=sink.url))

    (email,) = api.wait_for("sent", api.send(MAIL | {"to": ["ada@example.com", "bob@example.com"]}))

    ends = [(each["address"], each["status"], each["smtp_code"], each["response"]) for each in email["recipients"]]
    assert ends == [("ada@example.com", "sent", 250, "OK"), ("bob@example.com", "bounced", 550, "5.1.1 No such user")]
    assert sink.recipients == [["ada@example.com"]]
    refused = api.get(f"/emails/{email['id']}/events")["data"][-1]["data"]["refused"]
    assert refused == {"bob@example.com": {"smtp_code": 550, "response": "5.1.1 No such user"}}


def test_a_recipient_that_was_greylisted_gets_the_mail_later_and_the_other_only_once(start: StartServer, sink: Sink) -> None:
    sink.at_rcpt = lambda address, attempt: GREYLISTED if address == "bob@example.com" and attempt == 1 else TAKE
    api = Api(start(EMAIL_URL=sink.url, RETRY_DELAYS="1s"))

    (email,) = api.wait_for("sent", api.send(MAIL | {"to": ["ada@example.com", "bob@example.com"]}))

    assert email["attempts"] == 2
    assert {(each["status"], each["smtp_code"]) for each in email["recipients"]} == {("sent", 250)}
    assert sink.recipients == [["ada@example.com"], ["bob@example.com"]]
    assert len(set(sink.message_ids)) == 1


def test_a_mail_that_is_partly_refused_says_why_it_is_delayed_and_what_it_was_sent_with(start: StartServer, sink: Sink) -> None:
    answers = {"bob@example.com": NO_SUCH_USER, "eve@example.com": GREYLISTED}
    sink.at_rcpt = lambda address, _: answers.get(address, TAKE)
    server = start(EMAIL_URL=sink.url, RETRY_DELAYS="2s")
    api = Api(server)

    ids = api.send(MAIL | {"to": ["ada@example.com", *answers]})
    (delayed,), log = api.wait_for("delayed", ids), server.log
    api.wait_for("sent", ids)

    told = [(event["type"], event["data"]["smtp_code"]) for event in api.get(f"/emails/{ids[0]}/events")["data"]]
    assert [event for event in told if event[0] in {"email.delayed", "email.sent"}] == [
        ("email.delayed", 451),
        ("email.sent", 250),
    ]
    assert delayed["last_error"] == "bob@example.com: 550 5.1.1 No such user; eve@example.com: 451 4.7.1 Greylisted"
    assert ("Email sent successfully" in log, "example.com" in log) == (False, False)
    assert f"{ids[0]} is delayed: 451 4.7.1" in log


def test_after_an_answer_that_is_none_the_next_mail_gets_a_new_connection(start: StartServer, sink: Sink) -> None:
    sink.at_data = lambda address, _: "Is anybody there?" if address == "bob@example.com" else TAKE
    api = Api(start(EMAIL_URL=f"{sink.url}?connections=1"))

    garbled, fine = api.send(MAIL | {"to": "bob@example.com"}, MAIL)
    api.wait_for("sent", [fine])

    assert api.get(f"/emails/{garbled}")["status"] == "delayed"
    assert sink.connections == 2  # who knows what else comes over the first one


def test_a_mail_that_is_too_large_for_the_relay_fails_alone(start: StartServer, sink: Sink) -> None:
    sink.max_size = 2_000
    api = Api(start(EMAIL_URL=f"{sink.url}?connections=1"))

    large, small = api.send(MAIL | {"text": "Much. " * 1_000}, MAIL)
    api.wait_for("sent", [small])

    (email,) = api.wait_for("failed", [large])
    assert (email["attempts"], "552" in email["last_error"]) == (1, True)
    assert len(sink.mails) == 1


def test_while_the_relay_stalls_the_api_stays_up_and_no_mail_is_lost(start: StartServer, sink: Sink) -> None:
    sink.at_data = lambda _, attempt: STALL if attempt == 1 else TAKE
    api = Api(start(EMAIL_URL=f"{sink.url}?connections=2&data_done_timeout=2", RETRY_DELAYS="1s,1s"))
    mails = [MAIL | {"to": f"ada+{number}@example.com"} for number in range(4)]

    ids = api.send(*mails[:2])
    wait_for(lambda: sink.in_flight == 2, "all connections are stalled")
    ids += api.send(*mails[2:])
    answers = [api.get("/add?x=3&y=5") for _ in range(10)]
    still_stalled = sink.in_flight > 0 and not sink.mails

    assert (answers, still_stalled) == ([{"result": 8}] * 10, True)
    assert {email["attempts"] for email in api.wait_for("sent", ids)} == {2}
    assert (len(sink.mails), sink.doubles) == (4, 0)


def test_a_connection_gets_its_next_mail_only_when_the_end_of_the_last_is_written(
    start: StartServer, sink: Sink, data: Path
) -> None:
    sink.hold()
    api = Api(start(EMAIL_URL=f"{sink.url}?connections=3"))
    api.send(*[MAIL] * 6)
    wait_for(lambda: sink.in_flight == 3, "all connections are busy")

    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # nobody else can write
        sink.release()
        wait_for(lambda: len(sink.mails) == 3, "these are taken")
        for _ in range(10):
            api.get("/add?x=3&y=5")  # time enough for another mail
        taken = len(sink.mails)

    assert taken == 3
    wait_for(lambda: len(sink.mails) == 6, "the others follow")


def test_a_relay_that_is_away_costs_no_mail_a_try_and_all_go_when_it_is_back(start: StartServer, data: Path) -> None:
    port = free_port()
    server = start(EMAIL_URL=f"smtp://127.0.0.1:{port}")
    api = Api(server)
    ids = api.send(*[MAIL] * 5)
    server.wait_for_log("The relay does not work")
    wait_for(lambda: bool(_pauses(data)), "the pause is written down")
    ((failures, error),) = _pauses(data)
    waiting = api.wait_for("queued", ids)

    with smtp_sink(port=port) as sink:
        emails = api.wait_for("sent", ids)

    assert (failures, error.partition(":")[0]) == (1, "SMTPConnectError")
    assert {email["attempts"] for email in waiting} == {0}
    assert {email["attempts"] for email in emails} == {1}
    assert set(sink.message_ids) == {email["message_id"] for email in emails}
    assert _pauses(data) == []


def _pauses(data: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(data / DATABASE)) as database:
        return database.execute("SELECT failures, error FROM delivery_relayoutage").fetchall()
