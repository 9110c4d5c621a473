"""Takeovers: which workers lose their emails, and what happens to these emails."""

from datetime import datetime, timedelta

import pytest

from project.delivery.abandoned import OUTAGE_RETENTION, Verdict, judge, requeue_abandoned
from project.delivery.claim import claim_emails
from project.delivery.crashes import CRASH_ERROR, MAX_CRASHES, TOO_MANY_CRASHES_ERROR
from project.delivery.decision import recipient_result
from project.delivery.heartbeat import SilenceObserver, WorkerActivity, beat
from project.delivery.lease import LEASE, LeaseTiming
from project.delivery.models import RelayOutage, WorkerHeartbeat
from project.delivery.record_results import Attempt, record_results
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from tests.project.conftest import NOW, Claim
from tests.project.transports.fake_relay import new_email, queue

TIMING = LeaseTiming()
DEAD = Verdict(ended=["dead"])


def events() -> list[str]:
    """Return the types of all events, in order."""
    return list(Event.objects.order_by("id").values_list("type", flat=True))


def verdict_after(seconds: float, *, lease: datetime, worker: str = "other", dead: list[str] | None = None) -> Verdict:
    """Return the verdict about a worker that has shown no sign of life for `seconds`."""
    activity = {worker: WorkerActivity(7, lease, lease)}
    observer = SilenceObserver()
    for now in (0.0, seconds):
        observer.observe({worker: 7}, now=now)
    return judge(activity, observer, dead=dead or [], timing=TIMING, now=NOW)


# Which workers lose their emails


@pytest.mark.pitfall(27)
def test_a_worker_that_beats_loses_nothing_when_the_clock_is_set_forward() -> None:
    verdict = verdict_after(TIMING.silence_seconds - 1, lease=NOW - 100 * LEASE)

    assert (verdict.ended, verdict.silent) == (set(), set())


def test_a_silent_worker_loses_emails_with_expired_leases() -> None:
    verdict = verdict_after(TIMING.silence_seconds, lease=NOW - timedelta(seconds=1))

    assert (verdict.ended, verdict.silent) == (set(), {"other"})


def test_a_worker_that_is_silent_for_a_whole_lease_loses_all_emails_even_if_the_clock_was_set_back() -> None:
    verdict = verdict_after(LEASE.total_seconds(), lease=NOW + 100 * LEASE)

    assert (verdict.ended, verdict.silent) == ({"other"}, set())


def test_a_dead_worker_of_this_machine_loses_all_emails_at_once() -> None:
    assert verdict_after(0.0, lease=NOW + LEASE, dead=["other"]).ended == {"other"}


@pytest.mark.parametrize(("seconds", "is_final"), [(TIMING.silence_seconds - 1, False), (TIMING.silence_seconds, True)])
def test_the_verdict_is_final_when_workers_with_expired_leases_were_observed_long_enough(seconds: float, is_final: bool) -> None:
    assert verdict_after(seconds, lease=NOW - LEASE).is_final == is_final


def test_nobody_waits_for_a_verdict_about_a_worker_with_a_valid_lease() -> None:
    assert verdict_after(0.0, lease=NOW + LEASE).is_final


# What happens to the emails


@pytest.mark.pitfall(26)
def test_an_email_that_a_dead_worker_was_sending_waits_and_keeps_its_attempts(claim: Claim) -> None:
    email = claim(worker="dead")

    count = requeue_abandoned(Verdict(ended=["dead", "long dead"]), now=NOW)

    email.refresh_from_db()
    assert count == 1
    assert (email.status, email.claimed_by, email.lease_expires_at, email.attempts) == (Status.DELAYED, "", None, 0)
    assert (email.crashes, email.next_attempt_at, email.last_error) == (1, NOW + timedelta(seconds=2), CRASH_ERROR)
    assert events() == ["email.queued", "email.sending", "email.delayed"]


def test_an_email_that_a_dead_worker_had_only_claimed_is_queued_at_once(claim: Claim) -> None:
    sending, waiting = claim(worker="dead"), claim(worker="dead")

    requeue_abandoned(DEAD, sending={"dead": {sending.id}}, now=NOW)

    waiting.refresh_from_db()
    assert (waiting.status, waiting.attempts, waiting.crashes, waiting.next_attempt_at) == (Status.QUEUED, 0, None, None)
    assert Email.objects.get(id=sending.id).crashes == 1


def test_an_email_fails_alone_after_too_many_crashes(claim: Claim) -> None:
    killer, other = claim(worker="dead"), claim(worker="dead")
    Email.objects.filter(id=killer.id).update(crashes=MAX_CRASHES - 1)

    requeue_abandoned(DEAD, now=NOW)

    killer.refresh_from_db()
    assert (killer.status, killer.last_error, killer.next_attempt_at) == (Status.FAILED, TOO_MANY_CRASHES_ERROR, None)
    assert Event.objects.get(type="email.failed").email_id == killer.id
    assert Email.objects.get(id=other.id).status == Status.DELAYED


@pytest.mark.usefixtures("shared_test_connection")
def test_too_many_crashes_fail_only_the_recipients_that_have_no_result() -> None:
    queue(new_email("ada@example.com", "bob@example.com"))
    accepted_at = NOW - timedelta(hours=1)
    results = {"ada@example.com": recipient_result(Status.SENT)}
    Email.objects.update(recipient_results=results, sent_at=accepted_at, crashes=MAX_CRASHES - 1)
    claim_emails("dead", limit=1, now=NOW)

    requeue_abandoned(DEAD, now=NOW)

    email, event = Email.objects.get(), Event.objects.order_by("id").last()
    assert event is not None
    assert (email.status, email.sent_at) == (Status.SENT, accepted_at)
    assert [each["status"] for each in email.recipient_statuses] == [Status.SENT, Status.FAILED]
    assert email.recipient_results["bob@example.com"]["finished_at"] == NOW.isoformat()
    assert (event.type, event.data["recipients"], event.data["status"]) == ("email.failed", ["bob@example.com"], "sent")
    assert event.data["response"] == TOO_MANY_CRASHES_ERROR


def test_a_completed_attempt_resets_the_crashes(claim: Claim) -> None:
    email = claim()
    Email.objects.update(crashes=MAX_CRASHES - 1)

    record_results([Attempt(email, SendResult("Timeout", FailureKind.TEMPORARY), NOW)])

    email.refresh_from_db()
    assert (email.status, email.crashes) == (Status.DELAYED, None)


def test_a_silent_worker_keeps_emails_whose_lease_has_not_expired(claim: Claim) -> None:
    expired, other = claim(worker="silent"), claim(worker="silent", now=NOW + LEASE)

    count = requeue_abandoned(Verdict(silent=["silent"]), now=NOW + LEASE + timedelta(seconds=1))

    assert count == 1
    assert Email.objects.get(id=expired.id).status == Status.DELAYED
    assert Email.objects.get(id=other.id).status == Status.SENDING


def test_does_not_requeue_emails_of_other_workers(claim: Claim) -> None:
    email = claim(worker="live")

    count = requeue_abandoned(DEAD, now=NOW + 2 * LEASE)

    email.refresh_from_db()
    assert (count, email.status, email.claimed_by) == (0, Status.SENDING, "live")


@pytest.mark.parametrize("result", [SendResult(), SendResult("it failed")])
def test_does_not_requeue_finished_emails(claim: Claim, result: SendResult) -> None:
    record_results([Attempt(claim(worker="dead"), result, NOW)])

    assert requeue_abandoned(Verdict(ended=["dead", ""]), now=NOW + 2 * LEASE) == 0


def test_requeues_a_limited_number_in_one_transaction(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.delivery.abandoned.MAX_REQUEUED", 2)
    for _ in range(3):
        claim(worker="dead")
    beat("dead", interval_seconds=5.0, now=NOW)

    counts = [requeue_abandoned(DEAD, now=NOW), WorkerHeartbeat.objects.count(), requeue_abandoned(DEAD, now=NOW)]

    assert (counts, WorkerHeartbeat.objects.count()) == ([2, 1, 1], 0)


@pytest.mark.usefixtures("shared_test_connection")
def test_deletes_the_outage_and_the_heartbeat_of_a_dead_worker() -> None:
    for worker in ("dead", "live"):
        RelayOutage.objects.create(worker=worker, started_at=NOW, next_probe_at=NOW, failures=1, error="no route")
        beat(worker, interval_seconds=5.0, now=NOW)

    requeue_abandoned(DEAD, now=NOW)

    assert [outage.worker for outage in RelayOutage.objects.all()] == ["live"]
    assert [heartbeat.worker for heartbeat in WorkerHeartbeat.objects.all()] == ["live"]


@pytest.mark.usefixtures("shared_test_connection")
def test_deletes_an_outage_long_after_its_next_probe_was_due() -> None:
    for worker, next_probe_at in (("gone", NOW), ("live", NOW + timedelta(seconds=1))):
        RelayOutage.objects.create(worker=worker, started_at=NOW, next_probe_at=next_probe_at, failures=1, error="no route")

    requeue_abandoned(Verdict(), now=NOW + OUTAGE_RETENTION + timedelta(seconds=1))

    assert [outage.worker for outage in RelayOutage.objects.all()] == ["live"]
