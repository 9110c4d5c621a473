"""The test email addresses at simulator.test. The tests send emails through the API of a server without a relay."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PASSWORD
from tests.databases import copy_installation
from tests.processes import SERVERS, WAIT_TIMEOUT_SECONDS, running, wait_for

UNFINISHED = {"queued", "sending", "delayed"}


@pytest.fixture(scope="module")
def api(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Return a client of the API of a server that makes four attempts, one second apart."""
    folder = tmp_path_factory.mktemp("simulator")
    env = {"DATA_DIR": str(copy_installation(installation, folder / "data")), "RETRY_DELAYS": "1s,1s,1s"}
    with running(SERVERS["serve"], log=folder / "log", env=env) as server:
        token = server.post("/api/token", data={"username": "admin", "password": PASSWORD}).json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        with httpx.Client(base_url=f"{server.url}/api", headers=headers, timeout=WAIT_TIMEOUT_SECONDS) as api:
            yield api


def test_delivered_is_sent(api: httpx.Client) -> None:
    email = _wait_until_final(api, _send(api, "delivered@simulator.test"))

    assert (email["status"], email["attempts"], email["last_error"]) == ("sent", 1, "")


def test_bounce_is_bounced_every_time(api: httpx.Client) -> None:
    emails = [_wait_until_final(api, _send(api, "bounce+ada@simulator.test")) for _ in range(2)]

    assert [(email["status"], email["last_error"]) for email in emails] == [("bounced", "550 5.1.1 No such mailbox")] * 2


def test_a_test_address_can_be_suppressed_manually(api: httpx.Client) -> None:
    api.put("/suppressions/bounce+eve@simulator.test", json={"reason": "to see"}).raise_for_status()

    email = _wait_until_final(api, _send(api, "bounce+eve@simulator.test"))

    assert (email["status"], email["attempts"]) == ("suppressed", 0)


def test_full_is_sent_at_the_third_attempt(api: httpx.Client) -> None:
    email_id = _send(api, "full@simulator.test")

    email = _wait_until_final(api, email_id)

    assert (email["status"], email["attempts"]) == ("sent", 3)
    failed_attempt = ["email.sending", "email.delayed"]
    assert _types(api, email_id) == ["email.queued", *failed_attempt, *failed_attempt, "email.sending", "email.sent"]


def test_defer_is_delayed_and_fails_finally(api: httpx.Client) -> None:
    email_id = _send(api, "defer@simulator.test")

    email = _wait_until_final(api, email_id)

    assert (email["status"], email["attempts"], email["next_attempt_at"]) == ("failed", 4, None)
    assert "451" in email["last_error"]
    assert _types(api, email_id).count("email.delayed") == 3


def test_slow_is_sent_after_its_delay(api: httpx.Client) -> None:
    email = _wait_until_final(api, _send(api, "slow+1@simulator.test"))

    duration = datetime.fromisoformat(email["sent_at"]) - datetime.fromisoformat(email["created_at"])
    assert (email["status"], duration >= timedelta(seconds=1)) == ("sent", True)


def test_drop_is_delayed_because_the_connection_was_lost(api: httpx.Client) -> None:
    email_id = _send(api, "drop@simulator.test")

    wait_for(lambda: "email.delayed" in _types(api, email_id), "the email is delayed")

    assert "SMTPServerDisconnected" in api.get(f"/emails/{email_id}").json()["last_error"]
    assert _wait_until_final(api, email_id)["status"] == "failed"


def test_every_recipient_gets_its_own_final_status(api: httpx.Client) -> None:
    email = _wait_until_final(api, _send(api, "delivered@simulator.test", "bounce+bob@simulator.test", "full+eve@simulator.test"))

    assert email["status"] == "sent"
    results = {each["address"].partition("@")[0]: (each["status"], each["smtp_code"]) for each in email["recipients"]}
    assert results["bounce+bob"] == ("bounced", 550)
    assert {results["delivered"][0], results["full+eve"][0]} == {"sent"}
    assert email["attempts"] == 3  # because of the full mailbox; the other recipients needed one attempt


def _send(api: httpx.Client, *to: str) -> str:
    body = {"from": "shop@example.com", "to": to, "subject": "Your order", "text": "It is on its way."}
    email_id: str = api.post("/emails", json=body).raise_for_status().json()["id"]
    return email_id


def _wait_until_final(api: httpx.Client, email_id: str) -> dict[str, Any]:
    def email() -> dict[str, Any]:
        found: dict[str, Any] = api.get(f"/emails/{email_id}").json()
        return found

    wait_for(lambda: email()["status"] not in UNFINISHED, "the email has a final status", lambda: str(email()))
    return email()


def _types(api: httpx.Client, email_id: str) -> list[str]:
    return [event["type"] for event in api.get(f"/emails/{email_id}/events").json()["data"]]
