"""Environment variables: defaults, valid values, and invalid values, which stop the start."""

import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from project.config.data_dir import write_if_missing
from project.config.durations import DEFAULT_RETRY_DELAYS
from project.config.email_url import Relay
from project.config.environment import Environment, read_environment
from project.config.variables.server import BASE_DIR
from tests.processes import ROOT

KEY = "k" * 50


@pytest.fixture(autouse=True)
def _unset_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def reveal(value: Any) -> Any:
    """Return the value. If the value is a secret, return its plain text."""
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


# Valid values


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("host", "127.0.0.1"),
        ("port", 8000),
        ("data_dir", BASE_DIR / "var"),
        ("secret_key", None),
        ("debug", False),
        ("log_format", "text"),
        ("otel_exporter_otlp_endpoint", None),
        ("sentry_dsn", None),
        ("metrics_host", "127.0.0.1"),
        ("metrics_port", None),
        ("allowed_hosts", ["127.0.0.1", "localhost", "[::1]"]),
        ("csrf_trusted_origins", []),
        ("cors_origins", []),
        ("public_url", None),
        ("trusted_proxies", []),
        ("database_url", None),
        ("database_connect_timeout", 5),
        ("database_lock_timeout", None),
        ("database_idle_in_transaction_timeout", 5.0),
        ("database_statement_timeout", 30.0),
        ("email_url", "mailbox://"),
        ("email_backend", None),
        ("default_from_email", "Mailrail <mailrail@localhost>"),
        ("delivery_worker", None),
        ("retry_delays", DEFAULT_RETRY_DELAYS),
        ("web_concurrency", None),
        ("max_email_age", timedelta(days=3)),
        ("allowed_relay_headers", []),
        ("allow_internal_domains", False),
        ("allow_quoted_local_parts", False),
        ("max_request_bytes", 15 * 1024 * 1024),
        ("request_body_timeout", 120.0),
        ("client_write_timeout", 60.0),
        ("websocket_messages_per_second", 10_000),
        ("max_connections_per_address", 2000),
        ("max_streams_per_caller", 1000),
        ("rate_limit_key", "off"),
        ("rate_limit_user", "off"),
        ("rate_limit_anonymous", "60000/minute"),
        ("rate_limit_login", "600/minute"),
        ("redis_url", None),
        ("celery_broker_url", None),
        ("database_notify_url", None),
        ("login_max_failures", 10),
        ("login_max_failures_per_user", 100),
        ("login_max_failures_per_address", 100),
        ("login_lockout_seconds", 300),
        ("require_2fa", False),
        ("keep_bodies", timedelta(days=30)),
        ("keep_emails", timedelta(days=365)),
        ("keep_mailbox", timedelta(days=30)),
        ("audit_retention_days", 400),
        ("shutdown_grace", 25.0),
        ("health_allowed_networks", ["127.0.0.0/8", "::1", "unix"]),
        ("ready_max_queue_age", 600.0),
        ("admin_username", "admin"),
        ("admin_password", None),
        ("metrics_token", None),
        ("log_level", "INFO"),
        ("api_docs", True),
        ("secret_key_fallbacks", []),
        ("session_max_age", timedelta(hours=12)),
        ("session_idle_timeout", timedelta(minutes=30)),
    ],
)
def test_an_unset_variable_has_its_default(name: str, default: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reveal(getattr(read_environment(), name)) == default


def test_every_variable_has_a_test_of_its_default() -> None:
    (table,) = (mark for mark in test_an_unset_variable_has_its_default.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]

    assert sorted(row[0] for row in table.args[1]) == sorted(Environment.model_fields)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("HOST", "::", "::"),
        ("PORT", "0", 0),
        ("WEB_CONCURRENCY", "auto", "auto"),
        ("WEB_CONCURRENCY", "4", "4"),
        ("PORT", "65535", 65535),
        ("DATA_DIR", "/srv/mail", Path("/srv/mail")),
        ("SECRET_KEY", KEY, KEY),
        ("DEBUG", "true", True),
        ("DEBUG", "0", False),
        ("ALLOWED_HOSTS", "mail.example.com, .example.org,,", ["mail.example.com", ".example.org"]),
        ("CSRF_TRUSTED_ORIGINS", "https://a.example,http://b.example:81", ["https://a.example", "http://b.example:81"]),
        ("PUBLIC_URL", "https://mail.example.com/", "https://mail.example.com"),
        ("PUBLIC_URL", "http://[::1]:8080", "http://[::1]:8080"),
        ("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,unix", ["127.0.0.1", "10.0.0.0/8", "unix"]),
        ("DATABASE_URL", "postgres://u:p@db/mail", "postgres://u:p@db/mail"),
        ("DATABASE_URL", "sqlite:////srv/mail.sqlite3", "sqlite:////srv/mail.sqlite3"),
        ("DATABASE_NOTIFY_URL", "postgresql://u:p@db/mail", "postgresql://u:p@db/mail"),
        ("DATABASE_NOTIFY_URL", "off", "off"),
        ("EMAIL_URL", "smtps://u:p@relay", "smtps://u:p@relay"),
        ("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend", "django.core.mail.backends.console.EmailBackend"),
        ("DEFAULT_FROM_EMAIL", "Shop <shop@example.com>", "Shop <shop@example.com>"),
        ("DELIVERY_WORKER", "in_process", "in_process"),
        ("DELIVERY_WORKER", "external", "external"),
        ("DELIVERY_WORKER", "subprocess", "subprocess"),
        ("DELIVERY_WORKER", "celery", "celery"),
        ("CELERY_BROKER_URL", "redis://:secret@redis:6379/1", "redis://:secret@redis:6379/1"),
        ("CELERY_BROKER_URL", "amqps://u:p@one/mail;amqps://u:p@two/mail", "amqps://u:p@one/mail;amqps://u:p@two/mail"),
        ("RETRY_DELAYS", "30s, 1h", (timedelta(seconds=30), timedelta(hours=1))),
        ("RETRY_DELAYS", "none", ()),
        ("MAX_EMAIL_AGE", "10m", timedelta(minutes=10)),
        ("ALLOWED_RELAY_HEADERS", "X-PM-Tag, X-SES-*", ["X-PM-Tag", "X-SES-*"]),
        ("ALLOW_INTERNAL_DOMAINS", "true", True),
        ("ALLOW_QUOTED_LOCAL_PARTS", "1", True),
        ("RATE_LIMIT_KEY", "100/second", "100/second"),
        ("RATE_LIMIT_ANONYMOUS", "off", "off"),
        ("REDIS_URL", "rediss://:secret@cache:6379/1", "rediss://:secret@cache:6379/1"),
        ("LOGIN_MAX_FAILURES", "0", 0),
        ("REQUIRE_2FA", "true", True),
        ("SHUTDOWN_GRACE", "0", 0.0),
        ("HEALTH_ALLOWED_NETWORKS", "10.0.0.0/8, fd00::/8,unix", ["10.0.0.0/8", "fd00::/8", "unix"]),
        ("READY_MAX_QUEUE_AGE", "90", 90.0),
        ("ADMIN_USERNAME", "ada", "ada"),
        ("ADMIN_PASSWORD", "x", "x"),
        ("LOG_LEVEL", "DEBUG", "DEBUG"),
        ("LOG_LEVEL", "CRITICAL", "CRITICAL"),
    ],
)
def test_accepts_a_valid_value(name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)

    assert reveal(getattr(read_environment(), name.lower())) == value


@pytest.mark.parametrize("name", Environment.model_fields)
def test_an_empty_variable_counts_as_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unset = read_environment()
    monkeypatch.setenv(name.upper(), "")

    assert getattr(read_environment(), name) == getattr(unset, name)


def test_ignores_variables_of_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_HOST", "nonsense")

    assert not hasattr(read_environment(), "email_host")


# Invalid values


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "-1"),
        ("DATABASE_NOTIFY_URL", "on"),
        ("DATABASE_NOTIFY_URL", "redis://cache"),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "all"),
        ("PORT", "65536"),
        ("SECRET_KEY", "hunter2"),
        ("DEBUG", "maybe"),
        ("CSRF_TRUSTED_ORIGINS", "mail.example.com"),
        ("PUBLIC_URL", "mail.example.com"),
        ("PUBLIC_URL", "https://mail.example.com/sub"),
        ("PUBLIC_URL", "https://u:hunter2@mail.example.com"),
        ("TRUSTED_PROXIES", "everyone"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("DATABASE_URL", "nonsense://u:hunter2@db/mail"),
        ("DATABASE_URL", "hunter2"),
        ("EMAIL_URL", "smpt://u:hunter2@relay"),
        ("EMAIL_URL", "smtp://u:hunter2@relay:99999"),
        ("EMAIL_URL", "smtp://u:hunter2@relay?tls=1"),
        ("EMAIL_BACKEND", "nonsense"),
        ("DEFAULT_FROM_EMAIL", "ada"),
        ("EMAIL_URL", "smtp://u:hunter2@relay?connections=0"),
        ("DELIVERY_WORKER", "maybe"),
        ("RETRY_DELAYS", "soon"),
        ("RETRY_DELAYS", "1m,"),
        ("RETRY_DELAYS", "31d"),
        ("MAX_EMAIL_AGE", "none"),
        ("MAX_EMAIL_AGE", "0d"),
        ("ALLOWED_RELAY_HEADERS", "X-*-Tag"),
        ("ALLOWED_RELAY_HEADERS", "X-Tag:"),
        ("ALLOWED_RELAY_HEADERS", "*"),
        ("RATE_LIMIT_KEY", "often"),
        ("RATE_LIMIT_USER", "0/minute"),
        ("RATE_LIMIT_LOGIN", "10"),
        ("REDIS_URL", "http://u:hunter2@cache"),
        ("CELERY_BROKER_URL", "sqs://u:hunter2@queue"),
        ("CELERY_BROKER_URL", "redis://one;http://u:hunter2@two"),
        ("CELERY_BROKER_URL", "amqp://"),
        ("LOGIN_MAX_FAILURES", "-1"),
        ("LOGIN_LOCKOUT_SECONDS", "0"),
        ("SHUTDOWN_GRACE", "-1"),
        ("HEALTH_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("HEALTH_ALLOWED_NETWORKS", "everyone"),
        ("READY_MAX_QUEUE_AGE", "-1"),
        ("READY_MAX_QUEUE_AGE", "inf"),
        ("SHUTDOWN_GRACE", "nan"),
        ("SHUTDOWN_GRACE", "inf"),
        ("REQUEST_BODY_TIMEOUT", "inf"),
        ("CLIENT_WRITE_TIMEOUT", "inf"),
        ("DEFAULT_FROM_EMAIL", "a@example.com\nBcc: b@example.com"),
        ("SHUTDOWN_GRACE", "soon"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_an_invalid_value_stops_the_start_with_an_error_that_names_it(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)

    with pytest.raises(SystemExit) as exit_info:
        read_environment()

    message = str(exit_info.value)
    assert message.startswith(f"{name}: ")
    assert message.endswith(f" Expected: {Environment.model_fields[name.lower()].description}")
    assert "hunter2" not in message


def test_the_error_names_every_invalid_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("DEBUG", "maybe")

    with pytest.raises(SystemExit) as exit_info:
        read_environment()

    assert [line.partition(":")[0] for line in str(exit_info.value).splitlines()] == ["PORT", "DEBUG"]


def test_a_command_with_an_invalid_value_exits_without_a_traceback(tmp_path: Path) -> None:
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(tmp_path), "PORT": "http"}

    result = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )

    assert result.returncode == 1
    assert result.stderr.startswith("PORT: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("SECRET_KEY", "hunter2" * 5),
        ("DATABASE_URL", "postgres://u:hunter2@db/mail"),
        ("EMAIL_URL", "smtp://u:hunter2@relay"),
        ("ADMIN_PASSWORD", "hunter2"),
    ],
)
def test_the_repr_hides_secrets(name: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, secret)

    environment = read_environment()

    assert reveal(getattr(environment, name.lower())) == secret
    assert "hunter2" not in f"{environment!r} {environment.relays!r}"


# Derived values


def test_there_is_no_relay_by_default() -> None:
    assert read_environment().relays == ()


def test_the_relay_is_taken_from_email_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_URL", "smtp://127.0.0.1:2525")

    assert read_environment().relays == (Relay("127.0.0.1", 2525),)


@pytest.mark.parametrize(
    ("url", "host", "tls"),
    [
        ("", None, False),
        ("https://mail.example.com:8443", "mail.example.com", True),
        ("http://[::1]:8080", "[::1]", False),
    ],
)
def test_host_and_tls_are_derived_from_the_public_url(
    url: str, host: str | None, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLIC_URL", url)

    assert (read_environment().public_host, read_environment().has_tls) == (host, tls)


def test_the_data_directory_is_created_for_its_owner_only(tmp_path: Path) -> None:
    folder = Environment(data_dir=tmp_path / "new" / "folder").ensure_data_dir()

    assert folder.is_dir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(("mode", "restricted"), [(0o644, 0o640), (0o666, 0o660), (0o660, 0o660), (0o600, 0o600)])
def test_a_database_that_others_may_read_is_restricted(tmp_path: Path, mode: int, restricted: int) -> None:
    tmp_path.chmod(0o755)
    files = [tmp_path / "mailrail.sqlite3", tmp_path / "mailrail.sqlite3-wal", tmp_path / "another"]
    for file in files:
        file.touch()
        file.chmod(mode)

    folder = Environment(data_dir=tmp_path).ensure_data_dir()

    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [restricted, restricted, mode]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "start", [["manage.py", "migrate"], ["-c", "import project.asgi, django.db; django.db.connection.connect()"]]
)
def test_a_new_database_is_readable_by_its_owner_only(tmp_path: Path, start: list[str]) -> None:
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(tmp_path)}

    subprocess.run([sys.executable, *start], cwd=ROOT, env=environ, capture_output=True, check=True, umask=0o022)

    (file,) = tmp_path.glob("*.sqlite3")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


# The secret key


def secret_key_in(folder: Path) -> str:
    """Return the secret key that Mailrail uses when it starts with this data directory."""
    return Environment(data_dir=folder).resolved_secret_key


def test_a_secret_key_from_the_environment_is_not_written_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", KEY)

    assert secret_key_in(tmp_path) == KEY
    assert list(tmp_path.iterdir()) == []


def test_a_secret_key_is_generated_once(tmp_path: Path) -> None:
    first, second = secret_key_in(tmp_path), secret_key_in(tmp_path)

    assert first == second
    assert len(first) >= 50


def test_the_secret_key_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    secret_key_in(tmp_path)

    (file,) = tmp_path.iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("secret_key", 0o600)


def test_every_installation_has_a_different_secret_key(tmp_path: Path) -> None:
    assert secret_key_in(tmp_path / "one") != secret_key_in(tmp_path / "other")


def test_of_two_simultaneous_starts_the_first_writes_the_key(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"

    write_if_missing(path, "first")
    write_if_missing(path, "second")

    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_leftover_of_a_start_that_was_killed_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / f"secret_key.{os.getpid()}").write_text("ha")  # in a container, the next start has the same process id

    assert len(secret_key_in(tmp_path)) >= 50
