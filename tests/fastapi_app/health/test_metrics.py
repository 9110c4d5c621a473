"""The metrics route: who may read it, and the metrics that it returns."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from pytest_django import Settings
from starlette.testclient import TestClient

from fastapi_app.health import metrics
from project.accounts.models import User
from project.api_keys.keys import create_key
from project.bridge.database.transactions import call_in_transaction
from project.delivery.claim import claim_emails
from project.delivery.heartbeat import beat
from project.delivery.models import RelayOutage
from project.delivery.record_results import Attempt, record_results
from project.emails.mime.builder import Draft
from project.emails.models import Email
from project.emails.submit import NewEmail, prepare_email, submit_batch, submit_plain_text_email
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.fastapi_app.conftest import GetToken, LogIn, bearer
from tests.project.conftest import WORKER

TOKEN = "prometheus-prometheus"
ACCEPTED = SendResult(reply=Reply(250, "2.0.0 Accepted"))
BLOCKED = SendResult("SMTPDataError: blocked", FailureKind.PERMANENT, Reply(550, "5.7.1 Blocked"))


@pytest.fixture(autouse=True)
def _token(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"metrics_token": SecretStr(TOKEN)})


def read(client: TestClient) -> dict[tuple[str, ...], float]:
    """Get the metrics, and return them as {(name, *label values): value}."""
    text = client.get("/api/metrics", headers=bearer(TOKEN)).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def attempt(result: SendResult) -> None:
    """Submit an email, and record a delivery attempt with this result."""
    submit_plain_text_email(address="ada@example.com", text="Hi")
    (email,) = call_in_transaction(claim_emails, WORKER, limit=1, now=timezone.now())
    record_results([Attempt(email, result, email.created_at + timedelta(seconds=3))])


def test_the_metrics_token_reads_metrics(client: TestClient) -> None:
    answer = client.get("/api/metrics", headers=bearer(TOKEN))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_staff_who_may_view_emails_read_metrics(client: TestClient, teammate: User, log_in: LogIn) -> None:
    log_in(teammate)
    assert client.get("/api/metrics").status_code == 403

    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))

    assert client.get("/api/metrics").status_code == 200


def test_other_credentials_read_no_metrics(client: TestClient, owner: User, token: GetToken) -> None:
    statuses = [client.get("/api/metrics", headers=bearer(each)).status_code for each in ("nonsense", token(owner), "")]
    key = create_key("shop", scopes=["emails:read", "events:read"])

    assert client.get("/api/metrics").status_code == 401
    assert statuses == [401, 403, 401]
    assert client.get("/api/metrics", headers=bearer(key)).json()["code"] == "insufficient_scope"


def test_without_a_configured_token_no_token_is_valid(client: TestClient, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"metrics_token": None})

    assert [client.get("/api/metrics", headers=bearer(each)).status_code for each in (TOKEN, "None")] == [401, 401]


def test_metrics_report_the_queue(client: TestClient) -> None:
    submit_plain_text_email(address="ada@example.com", text="Hi")
    submit_plain_text_email(address="ada@example.com", text="Hi")
    Email.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    RelayOutage.objects.create(
        worker=WORKER, started_at=timezone.now(), next_probe_at=timezone.now(), failures=1, error="refused"
    )

    metrics = read(client)

    assert (metrics["mailrail_emails", "queued"], metrics["mailrail_emails", "failed"]) == (2, 0)
    assert 60 <= metrics["mailrail_queue_age_seconds",] < 90
    assert (metrics["mailrail_relay_paused",], metrics["mailrail_event_subscribers",]) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_metrics_count_committed_events() -> None:
    from project.asgi import application

    client = TestClient(application)
    before = read(client)

    attempt(ACCEPTED)
    attempt(BLOCKED)

    after = read(client)
    increase = {key: after[key] - before.get(key, 0) for key in after}
    assert (increase["mailrail_events_total", "email.sent"], increase["mailrail_events_total", "email.queued"]) == (1, 2)
    assert increase["mailrail_failures_total", "550", "failed"] == 1
    assert increase["mailrail_delivery_seconds_count",] == 1
    assert increase["mailrail_delivery_seconds_sum",] == pytest.approx(3, abs=0.1)


@pytest.mark.django_db(transaction=True)
def test_the_delivery_time_of_a_scheduled_email_starts_at_its_scheduled_time() -> None:
    from project.asgi import application

    client = TestClient(application)
    scheduled_at = timezone.now() + timedelta(hours=2)
    draft = Draft("shop@example.com", to=("ada@example.com",), subject="Hi", text="Hi")
    submit_batch([prepare_email(NewEmail(draft, scheduled_at=scheduled_at), now=timezone.now())])
    before = read(client)

    (email,) = call_in_transaction(claim_emails, WORKER, limit=1, now=scheduled_at)
    record_results([Attempt(email, ACCEPTED, scheduled_at + timedelta(seconds=3))])

    name = ("mailrail_delivery_seconds_sum",)
    assert read(client)[name] - before.get(name, 0) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("values", "age"),
    [
        ({"scheduled_at": -1}, 60),
        ({"retried_at": -1}, 60),
        ({"status": "scheduled", "scheduled_at": -1, "next_attempt_at": -1}, 60),
        ({"status": "scheduled", "scheduled_at": 1, "next_attempt_at": 1}, 0),
    ],
)
def test_the_queue_age_counts_from_when_the_email_was_due(client: TestClient, values: dict[str, str | int], age: int) -> None:
    submit_plain_text_email(address="ada@example.com", text="Hi")
    now = timezone.now()
    times = {name: now + timedelta(minutes=value) if isinstance(value, int) else value for name, value in values.items()}
    Email.objects.update(created_at=now - timedelta(days=1), **times)

    assert age <= read(client)["mailrail_queue_age_seconds",] < age + 30


@pytest.mark.parametrize("name", ["process_resident_memory_bytes", "process_open_fds", "python_gc_collections_total"])
def test_metrics_report_the_process(client: TestClient, name: str) -> None:
    assert name in {key[0] for key in read(client)}


def test_metrics_report_the_email_that_is_being_sent_for_the_longest_time(client: TestClient) -> None:
    for seconds in (90, 30):
        submit_plain_text_email(address="ada@example.com", text="Hi")
        call_in_transaction(claim_emails, WORKER, limit=1, now=timezone.now() - timedelta(seconds=seconds))

    assert 90 <= read(client)["mailrail_sending_age_seconds",] < 120


def test_metrics_report_the_queue_of_each_priority(client: TestClient) -> None:
    for _ in range(3):
        submit_plain_text_email(address="ada@example.com", text="Hi")
    first, second, _third = Email.objects.order_by("id")
    Email.objects.filter(id__in=[first.id, second.id]).update(priority="high")
    Email.objects.filter(id=first.id).update(created_at=timezone.now() - timedelta(minutes=1))

    metrics = read(client)

    counts = {priority: metrics["mailrail_queued_emails", priority] for priority in ("high", "normal", "low")}
    assert counts == {"high": 2, "normal": 1, "low": 0}
    assert 60 <= metrics["mailrail_queued_age_seconds", "high"] < 90
    assert (metrics["mailrail_queued_age_seconds", "normal"] < 30, metrics["mailrail_queued_age_seconds", "low"]) == (True, 0)


@pytest.mark.parametrize(("seconds", "workers"), [(0, 1), (20, 1), (60, 0)])
def test_metrics_count_workers_with_a_recent_heartbeat(client: TestClient, seconds: int, workers: int) -> None:
    beat(WORKER, interval_seconds=5, now=timezone.now() - timedelta(seconds=seconds))

    assert read(client)["mailrail_delivery_workers",] == workers


def test_metrics_are_returned_without_the_database(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr(metrics, "read_queue_stats", fail)

    shown = read(client)

    assert shown["mailrail_database_up",] == 0
    assert ("process_open_fds",) in shown
    assert ("mailrail_emails", "queued") not in shown


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (BLOCKED, "rejected"),
        (SendResult("550 5.1.1 No such user", FailureKind.PERMANENT, Reply(550, "5.1.1 No such user")), "bad_address"),
        (SendResult("ValueError: broken", FailureKind.PERMANENT), "no_reply"),
        (SendResult("451 4.7.1 Later", FailureKind.TEMPORARY, Reply(451, "4.7.1 Later")), "deferred"),
    ],
)
def test_metrics_count_final_failures_by_a_class_of_reasons(result: SendResult, reason: str, settings: Settings) -> None:
    from project.asgi import application

    settings.RETRY_DELAYS = []
    client = TestClient(application)
    before = read(client)

    attempt(result)

    after = read(client)
    increase = {key: after[key] - before.get(key, 0) for key in after}
    assert increase["mailrail_emails_failed_total", reason] == increase["mailrail_emails_accepted_total", "normal"] == 1


@pytest.mark.django_db(transaction=True)
def test_an_email_that_is_too_old_counts_as_expired(settings: Settings) -> None:
    from project.asgi import application

    submit_plain_text_email(address="ada@example.com", text="Hi")
    client = TestClient(application)
    before = read(client).get(("mailrail_emails_failed_total", "expired"), 0)

    call_in_transaction(claim_emails, WORKER, limit=1, now=timezone.now() + settings.MAX_EMAIL_AGE)

    assert read(client)["mailrail_emails_failed_total", "expired"] == before + 1
