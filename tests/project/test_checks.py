"""System checks: `manage.py check --deploy` rejects unsafe settings, and accepts the settings in docs/production.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from project.config.email_url import parse_email_urls
from project.config.environment import Environment
from project.transports.factory import CHECK_TAG
from tests.certificates import write_certificate
from tests.mailers import use_backend
from tests.processes import ROOT

SMTP = "django.core.mail.backends.smtp.EmailBackend"


@pytest.fixture
def relayed(settings: Settings) -> Settings:
    """Return settings with a transport that sends emails to other machines."""
    use_backend(settings, SMTP)
    return settings


def transport_errors() -> list[str]:
    """Return the ids of the errors with which `serve` and `prepare` refuse to start."""
    return [str(error.id) for error in run_checks(tags=[CHECK_TAG])]


def deployment_errors() -> list[str]:
    """Return the ids of Mailrail's own errors in `check --deploy`."""
    ids = [str(error.id) for error in run_checks(include_deployment_checks=True, databases=[])]
    return [name for name in ids if name.startswith("mailrail.")]


def check_deploy(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `check --deploy` with these environment variables and no other Mailrail variables."""
    ours = {name.upper() for name in Environment.model_fields} | {"DJANGO_SETTINGS_MODULE"}
    others = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    env = {**others, "DATA_DIR": str(folder), **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_a_local_trial_passes(settings: Settings) -> None:
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = ["*"]

    assert transport_errors() == []


@pytest.mark.parametrize("name", ["no.such.Backend", "django.core.mail.EmailMessage", "django.core.mail.send_mail"])
def test_reports_an_invalid_email_backend(settings: Settings, name: str) -> None:
    use_backend(settings, name)

    assert "mailrail.E014" in transport_errors()


def test_a_relay_with_default_settings_passes(relayed: Settings) -> None:
    relayed.RELAYS = parse_email_urls("smtp://relay.example.com")

    assert transport_errors() == []


def test_reports_debug_if_email_leaves_the_machine(relayed: Settings) -> None:
    relayed.DEBUG = True

    assert transport_errors() == ["mailrail.E001"]


def test_reports_wildcard_hosts_if_email_leaves_the_machine(relayed: Settings) -> None:
    relayed.ALLOWED_HOSTS = ["localhost", "*"]

    assert transport_errors() == ["mailrail.E002"]


def test_reports_a_mailbox_backend_that_sends(relayed: Settings) -> None:
    relayed.MAILBOX_BACKEND = SMTP

    assert transport_errors() == ["mailrail.E003"]


@pytest.mark.parametrize(
    ("url", "errors"),
    [
        ("smtp://ada:pw@relay.example.com", ["mailrail.E004"]),
        ("smtp://ada:pw@192.0.2.1", ["mailrail.E004"]),
        ("smtp://ada:pw@localhost", []),
        ("smtp://ada:pw@127.0.0.1:2525", []),
        ("smtp://ada:pw@[::1]", []),
        ("smtp+starttls://ada:pw@relay.example.com", []),
        ("smtps://ada:pw@relay.example.com", []),
    ],
)
def test_reports_a_relay_login_without_tls(relayed: Settings, url: str, errors: list[str]) -> None:
    relayed.RELAYS = parse_email_urls(url)

    assert transport_errors() == errors


@pytest.mark.parametrize(
    ("options", "errors"),
    [
        ("ca_file=/no/such/file.pem", ["mailrail.E016"]),
        (f"ca_file={__file__}", ["mailrail.E016"]),
        ("auth=xoauth2&token_command=/bin/echo", []),
        ("auth=xoauth2&token_command=/no/such/command", ["mailrail.E016"]),
        (f"auth=xoauth2&token_command={__file__}", ["mailrail.E016"]),
        ("auth=xoauth2&token_command=/tmp", ["mailrail.E016"]),
    ],
)
def test_reports_files_of_the_relay_that_cannot_be_used(relayed: Settings, options: str, errors: list[str]) -> None:
    relayed.RELAYS = parse_email_urls(f"smtps://ada@relay.example.com?{options}")

    assert transport_errors() == errors


def test_accepts_a_file_of_ca_certificates(relayed: Settings, tmp_path: Path) -> None:
    file = write_certificate(tmp_path / "ca.pem")
    relayed.RELAYS = parse_email_urls(f"smtps://ada@relay.example.com?ca_file={file}")

    assert transport_errors() == []


@pytest.mark.parametrize(("host", "is_reported"), [("relay.example.com", True), ("127.0.0.1", False)])
def test_reports_a_relay_whose_certificate_is_not_verified(relayed: Settings, host: str, is_reported: bool) -> None:
    relayed.RELAYS = parse_email_urls(f"smtps://{host}?verify=false")

    assert ("mailrail.E017" in deployment_errors()) == is_reported
    relayed.RELAYS = parse_email_urls(f"smtps://{host}")
    assert "mailrail.E017" not in deployment_errors()


def test_checks_each_relay(relayed: Settings) -> None:
    relayed.RELAYS = parse_email_urls(
        "smtp://127.0.0.1 smtp://ada:pw@b.example smtps://c.example?verify=false smtps://d.example?ca_file=/no/such/file"
    )

    assert transport_errors() == ["mailrail.E004", "mailrail.E016"]
    assert "mailrail.E017" in deployment_errors()


@pytest.mark.parametrize(("urls", "leaves"), [("smtp://127.0.0.1 smtp://localhost", False), ("smtp://localhost smtp://b", True)])
def test_email_stays_on_the_machine_only_if_all_relays_are_on_it(relayed: Settings, urls: str, leaves: bool) -> None:
    relayed.RELAYS, relayed.DEBUG = parse_email_urls(urls), True

    assert ("mailrail.E001" in transport_errors()) == leaves


@pytest.mark.parametrize("key", ["k3y" * 10, "a1" * 30, "django-insecure-" + "abcdefghij" * 4, "Change me, abcdefghij" * 3])
def test_reports_a_short_or_default_secret_key(relayed: Settings, key: str) -> None:
    relayed.SECRET_KEY = key

    assert transport_errors() == ["mailrail.E005"]


def test_deployment_checks_report_the_settings_of_a_trial(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.SECRET_KEY = "django-insecure-" + "abcdefghij" * 4
    settings.ENV = Environment(public_url="http://mail.example.com")

    assert deployment_errors() == ["mailrail.E002", "mailrail.E005"]


@pytest.mark.parametrize("url", [None, "redis://redis:6379/1"])
def test_reports_celery_without_a_broker(settings: Settings, url: str | None) -> None:
    settings.DELIVERY_WORKER, settings.CELERY_BROKER_URL = "celery", url

    assert transport_errors() == ([] if url else ["mailrail.E018"])


@pytest.mark.parametrize("worker", ["external", "celery"])
def test_reports_an_in_memory_channel_layer_with_workers_elsewhere(settings: Settings, worker: str) -> None:
    settings.DELIVERY_WORKER, settings.CELERY_BROKER_URL = worker, "redis://redis:6379/1"
    settings.ENV = Environment(public_url="http://mail.example.com")

    assert deployment_errors() == ["mailrail.E006"]


def test_an_external_worker_with_a_shared_channel_layer_passes(settings: Settings) -> None:
    settings.DELIVERY_WORKER = "external"
    settings.ENV = Environment(public_url="http://mail.example.com")
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}

    assert deployment_errors() == []


@pytest.mark.parametrize(
    ("url", "proxies", "errors"),
    [
        (None, [], ["mailrail.E007"]),
        ("https://mail.example.com", [], ["mailrail.E008"]),
        ("https://mail.example.com", ["127.0.0.1"], []),
        ("http://mail.example.com", [], []),
    ],
)
def test_reports_an_undecided_or_incomplete_tls_setup(
    settings: Settings, url: str | None, proxies: list[str], errors: list[str]
) -> None:
    settings.ENV = Environment(public_url=url)
    settings.TRUSTED_PROXIES = proxies

    assert deployment_errors() == errors


@pytest.fixture
def deployed(settings: Settings) -> Settings:
    """Return the settings of a correct deployment."""
    settings.ENV = Environment(public_url="https://mail.example.com")
    settings.TRUSTED_PROXIES = ["127.0.0.1", "10.0.0.0/8", "unix"]
    return settings


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("TRUSTED_PROXIES", ["127.0.0.1", "0.0.0.0/0"], "009"),
        ("TRUSTED_PROXIES", ["::/0"], "009"),
        ("CSRF_TRUSTED_ORIGINS", ["http://shop.example.com"], "010"),
        ("CSRF_TRUSTED_ORIGINS", ["https://*.com"], "011"),
        ("CSRF_TRUSTED_ORIGINS", ["https://*.com.:8443"], "011"),
        ("ALLOWED_HOSTS", ["localhost", ".com"], "012"),
        ("LOGIN_MAX_FAILURES", 0, "013"),
    ],
)
def test_reports_a_limit_that_is_too_broad(deployed: Settings, name: str, value: object, error: str) -> None:
    setattr(deployed, name, value)

    assert deployment_errors() == [f"mailrail.E{error}"]


def test_wildcards_of_a_full_domain_pass(deployed: Settings) -> None:
    deployed.CSRF_TRUSTED_ORIGINS = ["https://*.example.com", "https://shop.example.com:8443"]
    deployed.ALLOWED_HOSTS = [".example.com", "[::1]", "localhost"]

    assert deployment_errors() == []


def test_an_origin_without_tls_passes_if_the_server_has_no_tls(deployed: Settings) -> None:
    deployed.ENV = Environment(public_url="http://mail.example.com")
    deployed.CSRF_TRUSTED_ORIGINS = ["http://shop.example.com"]

    assert deployment_errors() == []


def test_the_settings_of_the_production_page_pass_without_a_warning(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "production.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    environment = dict(re.findall(r"^([A-Z_]+)=(\S+)$", section, re.MULTILINE))

    checked = check_deploy(tmp_path, **environment)

    assert {"PUBLIC_URL", "TRUSTED_PROXIES", "EMAIL_URL"} <= environment.keys()
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("System check identified no issues")


def test_check_deploy_fails_with_the_settings_of_a_trial(tmp_path: Path) -> None:
    checked = check_deploy(tmp_path)

    assert checked.returncode == 1
    assert "mailrail.E007" in checked.stderr
