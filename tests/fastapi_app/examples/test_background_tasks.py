"""The BackgroundTasks example in this process: the send-email route, and tasks after the response without a lifespan."""

import logging
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from httpx import ASGITransport
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.asgi import application
from project.bridge.background.background_tasks import BackgroundRoute
from project.bridge.database.transactions import run_in_transaction
from project.emails.models import Email
from project.emails.status import Status
from project.transports.models import MailboxMessage
from tests.fastapi_app.conftest import GetToken, bearer
from tests.mailers import use_backend
from tests.smtp import Sink

QUEUED = {"message": "Email will be sent in the background"}


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages that Mailrail logged, without the messages of the test client."""
    return [record.getMessage() for record in caplog.records if record.name.startswith(("project", "fastapi_app"))]


def test_background_tasks_delivers_the_email(client: TestClient) -> None:
    answer = client.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert (answer.status_code, answer.json()) == (200, QUEUED)
    assert Email.objects.get().status == Status.SENT


def test_background_tasks_stores_the_email_in_the_mailbox(client: TestClient) -> None:
    client.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi Ada\nHow are you?"})

    email, stored = Email.objects.get(), MailboxMessage.objects.get()
    assert (stored.subject, stored.text, stored.recipients) == ("Hi Ada", "Hi Ada\nHow are you?", ["ada@example.com"])
    assert message_from_bytes(bytes(stored.source), policy=policy.default)["Message-ID"] == email.message_id


def test_background_tasks_logs_the_email_in_the_embedded_mailbox(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        client.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert logged(caplog) == ["Sending email to ada@example.com: Hi", "Email sent successfully"]


def test_background_tasks_escapes_control_characters_in_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        client.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi\nEmail\u2028\x1b[31msent"})

    assert logged(caplog)[0] == r"Sending email to ada@example.com: Hi\nEmail\u2028\x1b[31msent"


@pytest.mark.parametrize(
    "address",
    [
        *("", "ada", "ada@", "@example.com", "ada@example", "Ada <ada@example.com>", "a@b.de\r\nBcc: x@y.de"),
        *("a@b.de,c@d.de", "a@b.de; c@d.de"),
    ],
)
def test_background_tasks_rejects_an_invalid_address(client: TestClient, address: str) -> None:
    answer = client.post("/api/send-email/", params={"email": address, "message": "Hi"})

    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["query", "email"]]


@pytest.mark.parametrize("message", ["", "Hi\x00", "x" * 10_001])
def test_background_tasks_rejects_an_invalid_message(client: TestClient, message: str) -> None:
    answer = client.post("/api/send-email/", params={"email": "ada@example.com", "message": message})

    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["query", "message"]]


def test_background_tasks_accepts_a_message_of_the_maximum_length(client: TestClient) -> None:
    answer = client.post("/api/send-email/", params={"email": "ada@example.com", "message": "x" * 10_000})

    assert answer.status_code == 200


@pytest.mark.parametrize("params", [{}, {"email": "ada@example.com", "message": ""}])
def test_background_tasks_queues_no_rejected_email(client: TestClient, params: dict[str, str]) -> None:
    client.post("/api/send-email/", params=params)

    assert not Email.objects.exists()


@pytest.mark.pitfall(3)
def test_background_tasks_run_after_the_email_is_committed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[str] = []

    async def look(_worker: object) -> None:
        statuses.extend(await run_in_transaction(lambda: list(Email.objects.values_list("status", flat=True))))

    monkeypatch.setattr("project.delivery.worker.DeliveryWorker.wake_or_deliver", look)
    client.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert statuses == [Status.QUEUED]


@pytest.mark.anyio
@pytest.mark.usefixtures("shared_test_connection")
@pytest.mark.pitfall(24, 25)
async def test_background_tasks_deliver_by_themselves_under_asgi_transport() -> None:
    async with httpx.AsyncClient(transport=ASGITransport(application), base_url="http://testserver") as client:
        answer = await client.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert answer.json() == QUEUED
    assert await run_in_transaction(lambda: MailboxMessage.objects.get().text) == "Hi"


def test_background_tasks_keep_their_order() -> None:
    router, order = APIRouter(route_class=BackgroundRoute), list[str]()

    async def in_the_loop(name: str) -> None:
        order.append(name)

    def on_a_thread(name: str) -> None:
        time.sleep(0.01)  # so that a later task could overtake this one
        order.append(name)

    @router.post("/")
    async def queue(tasks: BackgroundTasks) -> None:
        steps: list[tuple[Callable[[str], object], str]] = [
            (on_a_thread, "1"),
            (in_the_loop, "2"),
            (on_a_thread, "3"),
            (in_the_loop, "4"),
        ]
        for task, name in steps:
            tasks.add_task(task, name)

    small = FastAPI()
    small.include_router(router)
    TestClient(small).post("/")

    assert order == ["1", "2", "3", "4"]


# Security: with a real transport


@pytest.mark.usefixtures("real_transport")
def test_security_requires_a_credential_with_a_real_transport(client: TestClient) -> None:
    answer = client.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert not Email.objects.exists()


@pytest.mark.usefixtures("real_transport")
def test_security_requires_the_scope_with_a_real_transport(client: TestClient, teammate: User, token: GetToken) -> None:
    params = {"email": "ada@example.com", "message": "Hi"}

    answer = client.post("/api/send-email/", params=params, headers=bearer(token(teammate)))

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.json()["detail"] == "Missing required scope: emails:send."
    assert not Email.objects.exists()


def test_security_sends_over_smtp_with_a_token(client: TestClient, owner: User, token: GetToken, relay: Sink) -> None:
    params = {"email": "ada@example.com", "message": "Hi"}

    answer = client.post("/api/send-email/", params=params, headers=bearer(token(owner, "emails:send")))

    assert (answer.status_code, answer.json()) == (200, QUEUED)
    assert relay.recipients == [["ada@example.com"]]
    assert relay.emails[0]["Message-ID"] == Email.objects.get().message_id


def test_security_logs_no_address_or_text_with_a_real_transport(
    client: TestClient, owner: User, token: GetToken, relay: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    params, headers = {"email": "ada@example.com", "message": "a secret"}, bearer(token(owner))

    with caplog.at_level(logging.DEBUG):
        client.post("/api/send-email/", params=params, headers=headers)

    assert logged(caplog) == [f"Sending email {Email.objects.get().id}", "Email sent successfully"]


def test_security_logs_no_address_that_the_relay_rejects(
    client: TestClient, owner: User, token: GetToken, relay: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    params, headers = {"email": "ada@example.com", "message": "a secret"}, bearer(token(owner))
    relay.at_rcpt = lambda _address, _tries: "550 5.1.1 No such user"

    client.post("/api/send-email/", params=params, headers=headers)

    assert str(Email.objects.get().id) in caplog.text
    assert "ada@" not in "".join(caplog.handler.format(r) for r in caplog.records if r.name.startswith("project"))


def test_security_follows_the_current_transport(client: TestClient, settings: Settings) -> None:
    params = {"email": "ada@example.com", "message": "Hi"}

    answers = []
    for backend in (settings.MAILBOX_BACKEND, "django.core.mail.backends.locmem.EmailBackend", settings.MAILBOX_BACKEND):
        use_backend(settings, backend)
        answers.append(client.post("/api/send-email/", params=params).status_code)

    assert answers == [200, 401, 200]


@pytest.mark.usefixtures("client")
def test_email_ids_are_uuidv7_in_order_of_time(client: TestClient) -> None:
    for message in ("first", "second"):
        client.post("/api/send-email/", params={"email": "ada@example.com", "message": message})

    newest, oldest = Email.objects.all()
    assert isinstance(newest.id, UUID)
    assert newest.id.version == 7
    assert [oldest.subject, newest.subject] == ["first", "second"]
