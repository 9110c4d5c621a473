"""Metrics: who may read them, and what they say."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.api_keys.keys import create_key
from project.delivery.claim import claim_emails
from project.delivery.models import RelayOutage
from project.delivery.record_results import Attempt, record_results
from project.emails.models import Email
from project.emails.submit import submit_text_message
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply
from tests.fastapi_app.conftest import GetToken, SignIn, bearer
from tests.project.conftest import WORKER

TOKEN = "prometheus-prometheus"
TAKEN = SendResult(reply=Reply(250, "2.0.0 Taken"))
BLOCKED = SendResult("SMTPDataError: blocked", FailureKind.PERMANENT, Reply(550, "5.7.1 Blocked"))


@pytest.fixture(autouse=True)
def _token(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"metrics_token": SecretStr(TOKEN)})


def read(client: TestClient) -> dict[tuple[str, ...], float]:
    """The metrics: each one's name and labels, and its value."""
    text = client.get("/api/metrics", headers=bearer(TOKEN)).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def attempt(result: SendResult) -> None:
    """Accept a mail and try it, and commit both."""
    submit_text_message(address="ada@example.com", text="Hi")
    (email,) = claim_emails(WORKER, limit=1, now=timezone.now())
    record_results([Attempt(email, result, email.created_at + timedelta(seconds=3))])


def test_the_token_of_the_settings_reads_metrics(client: TestClient) -> None:
    answer = client.get("/api/metrics", headers=bearer(TOKEN))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_staff_who_may_see_mails_read_metrics(client: TestClient, teammate: User, sign_in: SignIn) -> None:
    sign_in(teammate)
    assert client.get("/api/metrics").status_code == 403

    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))

    assert client.get("/api/metrics").status_code == 200


def test_nobody_else_reads_metrics(client: TestClient, owner: User, token: GetToken) -> None:
    statuses = [client.get("/api/metrics", headers=bearer(each)).status_code for each in ("nonsense", token(owner), "")]
    key = create_key("shop", scopes=["emails:read", "events:read"])

    assert client.get("/api/metrics").status_code == 401
    assert statuses == [401, 403, 401]
    assert client.get("/api/metrics", headers=bearer(key)).json()["code"] == "missing_scope"


def test_without_a_token_in_the_settings_none_is_good(client: TestClient, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"metrics_token": None})

    assert [client.get("/api/metrics", headers=bearer(each)).status_code for each in (TOKEN, "None")] == [401, 401]


def test_metrics_say_how_the_queue_stands(client: TestClient) -> None:
    submit_text_message(address="ada@example.com", text="Hi")
    submit_text_message(address="ada@example.com", text="Hi")
    Email.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    RelayOutage.objects.create(
        worker=WORKER, started_at=timezone.now(), next_probe_at=timezone.now(), failures=1, error="refused"
    )

    found = read(client)

    assert (found["mailrail_mails", "queued"], found["mailrail_mails", "failed"]) == (2, 0)
    assert 60 <= found["mailrail_queue_age_seconds",] < 90
    assert (found["mailrail_relay_paused",], found["mailrail_followers",]) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_metrics_count_what_was_committed() -> None:
    from project.asgi import application

    client = TestClient(application)
    before = read(client)

    attempt(TAKEN)
    attempt(BLOCKED)

    now = read(client)
    grown = {key: now[key] - before.get(key, 0) for key in now}
    assert (grown["mailrail_events_total", "email.sent"], grown["mailrail_events_total", "email.queued"]) == (1, 2)
    assert grown["mailrail_failures_total", "550", "failed"] == 1
    assert grown["mailrail_delivery_seconds_count",] == 1
    assert grown["mailrail_delivery_seconds_sum",] == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("name", ["process_resident_memory_bytes", "process_open_fds", "python_gc_collections_total"])
def test_metrics_tell_of_the_process(client: TestClient, name: str) -> None:
    assert name in {key[0] for key in read(client)}
