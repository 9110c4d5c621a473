"""The faults of the chaos test. Each function causes a fault while emails are sent, and waits until the site has recovered."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.event_sockets import EventSocket
from tests.chaos.load import SteadyLoad
from tests.chaos.site import CONNECTIONS, MailHost, Site
from tests.crash.load_generator import count_to
from tests.processes import wait_for
from tests.server_processes import serving_process, web_processes

PROGRESS = 50  # emails that are accepted and sent between two faults
# Emails of each worker in flight. Recipients that respond slowly, as while the relay stands still, get at most three quarters of
# the connections.
IN_FLIGHT = CONNECTIONS // 2
OUTAGE_SECONDS = 1.0

Fault = Callable[[Site, Sequence[EventSocket]], None]


def kill_a_worker(site: Site, _sockets: Sequence[EventSocket]) -> None:
    """Kill the delivery worker of the first host, and start it again."""
    host = site.hosts[0]
    with _emails_in_flight(site):
        host.worker.kill()
    host.start_worker()
    _wait_until_it_sends(site, host)


def stop_a_worker(site: Site, _sockets: Sequence[EventSocket]) -> None:
    """Stop the delivery worker of the second host until the other worker has taken over its emails."""
    other, host = site.hosts
    takeovers = _takeovers(other)
    with _emails_in_flight(site):
        host.worker.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: _takeovers(other) > takeovers, "the other worker has taken over", lambda: site.logs)
    host.worker.process.send_signal(signal.SIGCONT)
    _wait_until_it_sends(site, host)


def restart_redis_empty(site: Site, _sockets: Sequence[EventSocket]) -> None:
    """Kill Redis, and start it without its data."""
    redis = site.services.redis
    redis.kill()
    time.sleep(OUTAGE_SECONDS)
    redis.start()
    wait_for(lambda: bool(redis.channels()), "the site uses Redis again", lambda: site.logs)


def restart_postgresql(site: Site, _sockets: Sequence[EventSocket]) -> None:
    """Restart PostgreSQL as after a crash."""
    with _emails_in_flight(site):
        site.services.postgresql.stop()
    time.sleep(OUTAGE_SECONDS)
    site.services.postgresql.start()
    for host in site.hosts:
        _wait_until_it_sends(site, host)


def kill_a_web_process(site: Site, sockets: Sequence[EventSocket]) -> None:
    """Kill the web process that serves the first socket."""
    server, connections = site.hosts[0].web, sockets[0].connections
    assert sockets[0].connection is not None
    os.kill(serving_process(server, sockets[0].connection), signal.SIGKILL)
    wait_for(lambda: sockets[0].connections > connections, "the socket has reconnected", lambda: site.logs)
    wait_for(lambda: len(web_processes(server)) == 2, "a new web process has started", lambda: site.logs)


def cut_a_worker_from_postgresql(site: Site, _sockets: Sequence[EventSocket]) -> None:
    """Let all packets between the first host's worker and PostgreSQL disappear until the other worker has taken over."""
    host, other = site.hosts
    takeovers, failures = _takeovers(other), host.worker.log.count("could not be renewed")
    with _emails_in_flight(site):
        host.network.database_link.cut()
    wait_for(lambda: _takeovers(other) > takeovers, "the other worker has taken over", lambda: site.logs)
    host.worker.wait_for_log("could not be renewed", times=failures + 1)
    host.network.database_link.repair()
    _wait_until_it_sends(site, host)


FAULTS: Sequence[Fault] = (
    kill_a_worker,
    stop_a_worker,
    restart_redis_empty,
    restart_postgresql,
    kill_a_web_process,
    cut_a_worker_from_postgresql,
)
LOST_WORKERS = 3  # workers whose connections' emails another worker sends again: killed, stopped and cut


def cause_all(site: Site, load: SteadyLoad, sockets: Sequence[EventSocket], emails: int) -> None:
    """Cause all faults in turn, distributed over the time in which `emails` emails are accepted and sent."""
    for number, fault in enumerate(FAULTS, start=1):
        count_to(max(load.count() + PROGRESS, number * emails // (len(FAULTS) + 1)), load.count, "emails are accepted")
        count_to(site.sent() + PROGRESS, site.sent, "emails are sent")
        began, accepted, duplicates = time.monotonic(), load.count(), site.services.sink.duplicates
        fault(site, sockets)
        seconds, more = time.monotonic() - began, load.count() - accepted
        print(f"{fault.__name__}: {seconds:.0f} s, {more} accepted, {site.services.sink.duplicates - duplicates} duplicates")  # noqa: T201  # shown by a long run


@contextmanager
def _emails_in_flight(site: Site) -> Iterator[None]:
    """Begin the block when each worker has several emails in flight. At its end, the relay accepts these emails."""
    sink, addresses = site.services.sink, [host.network.link.host_address for host in site.hosts]
    sink.hold()
    try:
        wait_for(
            lambda: min(sink.in_flight_by_client[address] for address in addresses) >= IN_FLIGHT,
            "each worker has emails in flight",
            lambda: f"{sink.in_flight_by_client} {site.logs}",
        )
        yield
    finally:
        sink.release()


def _takeovers(host: MailHost) -> int:
    """Return how often the host's worker has taken over emails of another worker."""
    return host.worker.log.count("abandoned emails")


def _wait_until_it_sends(site: Site, host: MailHost) -> None:
    received, address = site.services.sink.received_by_client, host.network.link.host_address
    before = received[address]
    wait_for(lambda: received[address] > before, "the worker sends emails again", lambda: site.logs)
