"""The usual way to send emails with Celery: a task for each email, which calls Django's `send_mail`.

Run it as `celery -A bench.one_task_per_email worker`.
"""

import os
from typing import Any

import django
from celery import Celery
from django.conf import settings
from django.core.mail import send_mail

QUEUE = "celery"  # Celery's default queue

app = Celery("one_task_per_email", broker=os.environ.get("BROKER_URL"), set_as_current=False)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.on_after_finalize.connect  # type: ignore[untyped-decorator]
def configure(**_arguments: Any) -> None:
    """Configure Django in a worker. The publisher needs no settings."""
    if not settings.configured and "RELAY_PORT" in os.environ:
        settings.configure(EMAIL_HOST="127.0.0.1", EMAIL_PORT=int(os.environ["RELAY_PORT"]), USE_TZ=True)
        django.setup()


@app.task(name="send")  # type: ignore[untyped-decorator]
def send(email: dict[str, Any]) -> None:
    """Send one email."""
    send_mail(email["subject"], email["text"], email["from"], email["to"], html_message=email["html"])
