"""An accepted mail is never lost, whatever is killed: a real server, a real SMTP server, and `kill -9` at random moments.

`CRASH_MAILS=2000 CRASH_KILLS=10 pytest tests/crash` is the long run; CI has a short one.
"""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from tests.conftest import PASSWORD, StartServer
from tests.processes import Server, wait_for
from tests.smtp import smtp_sink

MAILS = int(os.environ.get("CRASH_MAILS", "300"))
KILLS = int(os.environ.get("CRASH_KILLS", "3"))
CONNECTIONS = 10  # project.outbox.engine.SENDERS: so many mails may be in a relay's hand when the process dies


class Sender:
    """Sends until it has had enough 202s, whatever becomes of the server; what was not answered does not count."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.server: Server | None = None
        self._headers: dict[str, str] = {}

    def use(self, server: Server) -> None:
        """From now on, send to this one."""
        form = {"username": "admin", "password": PASSWORD}
        token = httpx.post(f"{server.url}/api/token", data=form, timeout=20).json()["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self.server = server

    def run(self) -> None:
        """Send."""
        number = 0
        while len(self.accepted) < MAILS:
            number += 1
            body = {"from": "shop@example.com", "to": "ada@example.com", "subject": str(number), "text": "Hi"}
            try:
                answer = httpx.post(f"{self.server.url}/api/emails", json=body, headers=self._headers, timeout=20)  # type: ignore[union-attr]
            except httpx.TransportError:
                continue  # it was killed: what it had answered is in `accepted`, and only that was promised
            self.accepted.append(answer.json()["id"])


@pytest.mark.pitfall(3, 26, 28)
def test_an_accepted_mail_is_never_lost_and_doubled_only_in_a_relays_hand(start: StartServer) -> None:
    sender, dice = Sender(), random.Random(os.environ.get("CRASH_SEED", "42"))  # noqa: S311  # no secret: moments
    with smtp_sink() as sink:
        sender.use(start(EMAIL_URL=sink.url))
        sending = threading.Thread(target=sender.run, daemon=True)
        sending.start()
        for kill in range(1, KILLS + 1):
            moment = MAILS * kill // (KILLS + 1) + dice.randrange(MAILS // 10)
            wait_for(_has_accepted(sender, moment), f"{moment} mails are accepted")
            assert sender.server is not None
            sender.server.kill()
            sender.use(start(EMAIL_URL=sink.url))
        sending.join(300)
        wait_for(lambda: _ids(sink.mails) >= set(sender.accepted), "every accepted mail has arrived")
        statuses = _statuses(sender)

    assert len(sender.accepted) == MAILS
    doubles = Counter(mail["Message-ID"] for mail in sink.mails)
    assert sum(doubles.values()) - len(doubles) <= KILLS * CONNECTIONS
    assert statuses == {"sent"}


def _has_accepted(sender: Sender, count: int) -> Callable[[], bool]:
    return lambda: len(sender.accepted) >= count


def _ids(mails: list) -> set[str]:  # type: ignore[type-arg]  # of EmailMessages
    return {mail["Message-ID"].strip("<>").partition("@")[0] for mail in mails}


def _statuses(sender: Sender) -> set[str]:
    """Those of all mails, once none is on its way."""
    assert sender.server is not None
    headers, url = sender._headers, f"{sender.server.url}/api/emails"

    def on_the_way() -> list[str]:
        waiting = ("queued", "sending", "delayed")
        pages = (httpx.get(f"{url}?status={status}", headers=headers).json()["data"] for status in waiting)
        return [email["id"] for page in pages for email in page]

    wait_for(lambda: not on_the_way(), "no mail is on its way", lambda: str(on_the_way()))
    return {email["status"] for email in httpx.get(f"{url}?limit=100", headers=headers).json()["data"]}
