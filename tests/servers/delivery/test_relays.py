"""Relays that are slow, limited, selective or unavailable. Emails wait for such a relay, and no email is lost."""

from pathlib import Path
from typing import Any

from tests.conftest import StartServer
from tests.databases import locked, query
from tests.processes import Server, free_port, wait_for
from tests.smtp import ACCEPT, NO_SUCH_USER, STALL, Sink, smtp_sink

GREYLISTED = "451 4.7.1 Greylisted"
EMAIL = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Your order", "text": "It is on its way."}


class ApiClient:
    """Client that calls the API with an API key."""

    def __init__(self, server: Server, key: str) -> None:
        self._server, self._headers = server, {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> Any:
        """Return the JSON at `path`."""
        return self._server.get(f"/api{path}", headers=self._headers).raise_for_status().json()

    def send(self, *emails: dict[str, Any]) -> list[str]:
        """Queue emails in one batch. Return their ids."""
        response = self._server.post("/api/emails/batch", json={"emails": emails}, headers=self._headers)
        return [email["id"] for email in response.raise_for_status().json()["data"]]

    def wait_for(self, status: str, ids: list[str]) -> list[dict[str, Any]]:
        """Wait until the emails with these ids have this status. Return the emails. They must be among the newest 100 emails."""

        def emails() -> list[dict[str, Any]]:
            return [email for email in self.get("/emails?limit=100")["data"] if email["id"] in ids]

        def all_have_status() -> bool:
            return {email["status"] for email in emails()} == {status}

        def details() -> str:
            return str([(email["status"], email["last_error"]) for email in emails()])

        wait_for(all_have_status, f"all are {status}", details)
        return emails()


def test_sends_many_emails_over_few_connections(start: StartServer, api_key: str, sink: Sink) -> None:
    api = ApiClient(start(EMAIL_URL=f"{sink.url}?connections=3"), api_key)

    api.send(*[EMAIL] * 200)
    wait_for(lambda: len(sink.emails) == 200, "all arrive")

    assert sink.connections == sink.max_open == 3
    assert sink.duplicates == 0


def test_a_relay_that_closes_connections_uses_up_no_attempts(start: StartServer, api_key: str, sink: Sink) -> None:
    sink.emails_per_connection = 5
    api = ApiClient(start(EMAIL_URL=f"{sink.url}?connections=3"), api_key)

    emails = api.wait_for("sent", api.send(*[EMAIL] * 60))

    assert {email["attempts"] for email in emails} == {1}
    assert (len(sink.emails), sink.duplicates) == (60, 0)
    assert sink.connections >= 60 / 5


def test_sends_all_emails_over_the_connections_that_the_relay_accepts(start: StartServer, api_key: str, sink: Sink) -> None:
    sink.max_connections = 2
    server = start(EMAIL_URL=sink.url)
    api = ApiClient(server, api_key)

    emails = api.wait_for("sent", api.send(*[EMAIL] * 60))

    assert {email["attempts"] for email in emails} == {1}
    assert (len(sink.emails), sink.duplicates, sink.max_open) == (60, 0, 2)
    assert "The relay is unavailable" not in server.log


def test_reports_the_result_of_each_recipient(start: StartServer, api_key: str, sink: Sink) -> None:
    sink.at_rcpt = lambda address, _: NO_SUCH_USER if address == "bob@example.com" else ACCEPT
    api = ApiClient(start(EMAIL_URL=sink.url), api_key)

    (email,) = api.wait_for("sent", api.send(EMAIL | {"to": ["ada@example.com", "bob@example.com"]}))

    results = [tuple(each[key] for key in ("address", "status", "smtp_code", "response")) for each in email["recipients"]]
    assert results == [("ada@example.com", "sent", 250, "OK"), ("bob@example.com", "bounced", 550, "5.1.1 No such user")]
    assert sink.recipients == [["ada@example.com"]]
    rejected = api.get(f"/emails/{email['id']}/events")["data"][-1]["data"]["refused"]
    assert rejected == {"bob@example.com": {"smtp_code": 550, "response": "5.1.1 No such user"}}


def test_retries_only_a_greylisted_recipient(start: StartServer, api_key: str, sink: Sink) -> None:
    sink.at_rcpt = lambda address, attempt: GREYLISTED if address == "bob@example.com" and attempt == 1 else ACCEPT
    api = ApiClient(start(EMAIL_URL=sink.url, RETRY_DELAYS="1s"), api_key)

    (email,) = api.wait_for("sent", api.send(EMAIL | {"to": ["ada@example.com", "bob@example.com"]}))

    assert email["attempts"] == 2
    assert {(each["status"], each["smtp_code"]) for each in email["recipients"]} == {("sent", 250)}
    assert sink.recipients == [["ada@example.com"], ["bob@example.com"]]
    assert len(set(sink.message_ids)) == 1


def test_a_partly_rejected_email_reports_the_reply_for_each_status(start: StartServer, api_key: str, sink: Sink) -> None:
    replies = {"bob@example.com": NO_SUCH_USER, "eve@example.com": GREYLISTED}
    sink.at_rcpt = lambda address, _: replies.get(address, ACCEPT)
    server = start(EMAIL_URL=sink.url, RETRY_DELAYS="2s")
    api = ApiClient(server, api_key)

    ids = api.send(EMAIL | {"to": ["ada@example.com", *replies]})
    (delayed,), log = api.wait_for("delayed", ids), server.log
    api.wait_for("sent", ids)

    events = [(event["type"], event["data"]["smtp_code"]) for event in api.get(f"/emails/{ids[0]}/events")["data"]]
    assert [event for event in events if event[1] is not None] == [
        ("email.sent", 250),
        ("email.bounced", 550),
        ("email.delayed", 451),
        ("email.failed", 451),
    ]
    assert delayed["last_error"] == "bob@example.com: 550 5.1.1 No such user; eve@example.com: 451 4.7.1 Greylisted"
    assert ("Email sent successfully" in log, "example.com" in log) == (False, False)
    assert f"{ids[0]} is delayed: 451 4.7.1" in log


def test_uses_a_new_connection_after_an_invalid_reply(start: StartServer, api_key: str, sink: Sink) -> None:
    sink.at_data = lambda address, _: "Is anybody there?" if address == "bob@example.com" else ACCEPT
    api = ApiClient(start(EMAIL_URL=f"{sink.url}?connections=1"), api_key)

    first, second = api.send(EMAIL | {"to": "bob@example.com"}, EMAIL)
    api.wait_for("sent", [second])

    assert api.get(f"/emails/{first}")["status"] == "delayed"
    assert sink.connections == 2  # the replies of the first connection can no longer be trusted


def test_only_the_email_that_is_too_large_for_the_relay_fails(start: StartServer, api_key: str, sink: Sink) -> None:
    sink.max_size = 2_000
    api = ApiClient(start(EMAIL_URL=f"{sink.url}?connections=1"), api_key)

    large, small = api.send(EMAIL | {"text": "Much. " * 1_000}, EMAIL)
    api.wait_for("sent", [small])

    (email,) = api.wait_for("failed", [large])
    assert (email["attempts"], "552" in email["last_error"]) == (1, True)
    assert len(sink.emails) == 1


def test_a_stalled_relay_does_not_block_the_api_and_no_email_is_lost(start: StartServer, api_key: str, sink: Sink) -> None:
    sink.at_data = lambda _, attempt: STALL if attempt == 1 else ACCEPT
    api = ApiClient(start(EMAIL_URL=f"{sink.url}?connections=2&data_done_timeout=2", RETRY_DELAYS="1s,1s"), api_key)
    emails = [EMAIL | {"to": f"ada+{number}@example.com"} for number in range(4)]

    ids = api.send(*emails[:2])
    wait_for(lambda: sink.in_flight == 2, "all connections are stalled")
    ids += api.send(*emails[2:])
    results = [api.get("/add?x=3&y=5") for _ in range(10)]
    still_stalled = sink.in_flight > 0 and not sink.emails

    assert (results, still_stalled) == ([{"result": 8}] * 10, True)
    assert {email["attempts"] for email in api.wait_for("sent", ids)} == {2}
    assert (len(sink.emails), sink.duplicates) == (4, 0)


def test_a_connection_gets_its_next_email_after_the_previous_result_is_stored(
    start: StartServer, api_key: str, sink: Sink, data: Path
) -> None:
    sink.hold()
    api = ApiClient(start(EMAIL_URL=f"{sink.url}?connections=3"), api_key)
    api.send(*[EMAIL] * 6)
    wait_for(lambda: sink.in_flight == 3, "all connections are busy")

    with locked(data, "emails_email"):
        sink.release()
        wait_for(lambda: len(sink.emails) == 3, "the relay accepts them")
        for _ in range(10):
            api.get("/add?x=3&y=5")  # enough time to send another email
        accepted = len(sink.emails)

    assert accepted == 3
    wait_for(lambda: len(sink.emails) == 6, "the others follow")


def test_an_unavailable_relay_uses_up_no_attempts_and_all_emails_are_sent_when_it_returns(
    start: StartServer, api_key: str, data: Path
) -> None:
    port = free_port()
    server = start(EMAIL_URL=f"smtp://127.0.0.1:{port}")
    api = ApiClient(server, api_key)
    ids = api.send(*[EMAIL] * 5)
    server.wait_for_log("The relay is unavailable")
    wait_for(lambda: bool(_outages(data)), "the outage is stored")
    ((failures, error),) = _outages(data)
    waiting = api.wait_for("queued", ids)

    with smtp_sink(port=port) as sink:
        emails = api.wait_for("sent", ids)

    assert (failures, error.partition(":")[0]) == (1, "SMTPConnectError")
    assert {email["attempts"] for email in waiting} == {0}
    assert {email["attempts"] for email in emails} == {1}
    assert set(sink.message_ids) == {email["message_id"] for email in emails}
    assert _outages(data) == []


def _outages(data: Path) -> list[tuple[int, str]]:
    return query(data, "SELECT failures, error FROM delivery_outage")
