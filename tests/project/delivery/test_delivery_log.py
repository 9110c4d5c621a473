"""Log messages about deliveries."""

import pytest
from pytest_django import Settings

from project.delivery.delivery_log import MAX_LOGGED_BYTES, describe
from tests.mailers import use_backend
from tests.project.transports.fake_relay import unsaved_email


@pytest.mark.parametrize(
    ("text", "logged"), [("Hi\x1b Ada", r"Hi\x1b Ada"), ("x" * MAX_LOGGED_BYTES, "bytes)")], ids=["short", "long"]
)
def test_shows_the_text_of_a_short_email_that_stays_on_this_machine(text: str, logged: str, settings: Settings) -> None:
    use_backend(settings, settings.MAILBOX_BACKEND)
    email = unsaved_email("ada@example.com", text=text)

    description = describe(email)

    assert description.startswith("to ada@example.com: ")
    assert description.endswith(logged)
    assert len(description) < 100


def test_shows_only_the_id_of_an_email_that_may_leave_this_machine(settings: Settings) -> None:
    use_backend(settings, "django.core.mail.backends.smtp.EmailBackend")
    email = unsaved_email("ada@example.com", text="secret")

    assert describe(email) == str(email.id)
