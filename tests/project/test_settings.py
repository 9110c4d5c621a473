"""Django's settings, derived from the environment of a process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from project.config.environment import Environment
from project.config.mailers import DJANGO_HAS_MAILERS, SMTP_BACKEND
from tests.processes import ROOT

PRINT_SETTINGS = """
import json
from project import settings
print(json.dumps({name: value for name, value in vars(settings).items() if name.isupper()}, default=str))
"""


def settings_of(folder: Path, **environment: str) -> Any:
    """Return the settings of a process that has these environment variables and no other Mailrail variables."""
    ours = {name.upper() for name in Environment.model_fields}
    others = {name: value for name, value in os.environ.items() if name not in ours}
    env = {**others, "DATA_DIR": str(folder), **environment}
    process = subprocess.run(
        [sys.executable, "-c", PRINT_SETTINGS], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout)


def default_mailer(folder: Path, **environment: str) -> Any:
    """Return the setting that decides how and where emails are sent."""
    return settings_of(folder, **environment)["MAILERS"]["default"]


def settings_before_mailers(folder: Path, **environment: str) -> dict[str, object]:
    """Return the same as settings of a Django without `MAILERS`."""
    return {name: value for name, value in settings_of(folder, **environment).items() if name.startswith("EMAIL_")}


def test_redis_url_sets_a_shared_channel_layer(tmp_path: Path) -> None:
    alone, together = (settings_of(tmp_path, **env)["CHANNEL_LAYERS"]["default"] for env in ({}, {"REDIS_URL": "rediss://cache"}))

    assert alone == {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    assert together["BACKEND"] == "channels_redis.pubsub.RedisPubSubChannelLayer"
    assert together["CONFIG"]["hosts"][0]["address"] == "rediss://cache"


def test_the_default_backend_is_the_embedded_mailbox(tmp_path: Path) -> None:
    mailbox = "project.transports.mailbox_backend.MailboxBackend"

    assert default_mailer(tmp_path) == {"BACKEND": mailbox, "OPTIONS": {}}
    assert settings_before_mailers(tmp_path) == ({} if DJANGO_HAS_MAILERS else {"EMAIL_BACKEND": mailbox})


@pytest.mark.parametrize(
    ("url", "port", "starttls", "implicit_tls"),
    [
        ("smtp://ada:p%40ss@relay?timeout=5", 25, False, False),
        ("smtp+starttls://ada:p%40ss@relay?timeout=5", 587, True, False),
        ("smtps://ada:p%40ss@relay?timeout=5", 465, False, True),
    ],
)
def test_email_url_sets_the_relay(tmp_path: Path, url: str, port: int, starttls: bool, implicit_tls: bool) -> None:
    login = {"host": "relay", "port": port, "username": "ada", "password": "p@ss", "timeout": 5.0}
    assert default_mailer(tmp_path, EMAIL_URL=url) == {
        "BACKEND": SMTP_BACKEND,
        "OPTIONS": {**login, "use_tls": starttls, "use_ssl": implicit_tls},
    }


@pytest.mark.skipif(DJANGO_HAS_MAILERS, reason="is about Django before 6.1")
def test_email_url_sets_the_relay_of_a_django_without_mailers(tmp_path: Path) -> None:
    assert settings_before_mailers(tmp_path, EMAIL_URL="smtp+starttls://ada:p%40ss@relay?timeout=5") == {
        "EMAIL_BACKEND": SMTP_BACKEND,
        "EMAIL_HOST": "relay",
        "EMAIL_PORT": 587,
        "EMAIL_HOST_USER": "ada",
        "EMAIL_HOST_PASSWORD": "p@ss",
        "EMAIL_USE_TLS": True,
        "EMAIL_USE_SSL": False,
        "EMAIL_TIMEOUT": 5.0,
    }


@pytest.mark.parametrize("url", ["", "smtp://relay"])
def test_email_backend_takes_precedence_over_email_url(tmp_path: Path, url: str) -> None:
    backend = "django.core.mail.backends.dummy.EmailBackend"

    assert default_mailer(tmp_path, EMAIL_URL=url, EMAIL_BACKEND=backend) == {"BACKEND": backend, "OPTIONS": {}}


def test_the_default_database_is_a_file_in_the_data_directory(tmp_path: Path) -> None:
    database = settings_of(tmp_path)["DATABASES"]["default"]

    assert (database["ENGINE"], database["NAME"]) == ("django.db.backends.sqlite3", str(tmp_path / "mailrail.sqlite3"))
    assert (database["OPTIONS"]["transaction_mode"], database["CONN_MAX_AGE"]) == ("IMMEDIATE", 0)


def test_database_url_sets_the_database(tmp_path: Path) -> None:
    database = settings_of(tmp_path, DATABASE_URL="postgres://ada:pw@db:5433/mail")["DATABASES"]["default"]

    assert (database["ENGINE"], database["HOST"], database["PORT"]) == ("django.db.backends.postgresql", "db", 5433)
    assert database["CONN_MAX_AGE"] == 0
    assert "transaction_mode" not in database.get("OPTIONS", {})


@pytest.mark.parametrize(
    ("public_url", "prefix"), [("https://mail.example.com", "__Host-"), ("http://mail.example.com", ""), ("", "")]
)
def test_cookies_have_the_host_prefix_over_tls(tmp_path: Path, public_url: str, prefix: str) -> None:
    settings = settings_of(tmp_path, PUBLIC_URL=public_url)

    assert settings["SESSION_COOKIE_NAME"] == f"{prefix}sessionid"
    assert settings["CSRF_COOKIE_NAME"] == f"{prefix}csrftoken"
