"""`python manage.py prepare` does everything that a new installation needs before its first start."""

import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pydantic import SecretStr
from pytest_django import Settings

from project.accounts.models import User
from project.config.environment import Environment
from project.config.mailers import SMTP_BACKEND
from tests.conftest import PASSWORD
from tests.mailers import use_backend

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def static_root(settings: Settings, tmp_path: Path) -> Path:
    """Return a temporary directory that is used as STATIC_ROOT."""
    settings.STATIC_ROOT = tmp_path / "static"
    return tmp_path / "static"


def prepare() -> str:
    """Run `prepare`, and return its output."""
    output = StringIO()
    call_command("prepare", stdout=output)
    return output.getvalue()


def test_prints_the_generated_password_once() -> None:
    first, second = prepare(), prepare()

    match = re.fullmatch(r"Created administrator admin\. Password \(shown only once\): (\S+)\n", first)
    assert match is not None
    assert User.objects.get(username="admin").check_password(match[1])
    assert second == ""


def test_creates_the_administrator_of_the_environment_without_output(settings: Settings) -> None:
    settings.ENV = Environment(admin_username="ada", admin_password=SecretStr(PASSWORD))

    output = prepare()

    assert output == ""
    assert User.objects.get(username="ada").check_password(PASSWORD)


@pytest.mark.parametrize("password", ["password", "4711", "administrator1"])
def test_rejects_a_weak_password_if_there_is_a_public_url(settings: Settings, password: str) -> None:
    settings.ENV = Environment(
        public_url="https://mail.example.com", admin_username="administrator", admin_password=SecretStr(password)
    )

    with pytest.raises(CommandError, match=r"ADMIN_PASSWORD: .*too (short|common|similar)"):
        prepare()

    assert not User.objects.exists()


def test_rejects_a_weak_password_if_email_leaves_the_machine(settings: Settings) -> None:
    use_backend(settings, SMTP_BACKEND)
    settings.ENV = Environment(admin_password=SecretStr("password"))

    with pytest.raises(CommandError, match="too common"):
        prepare()


def test_accepts_any_password_for_a_local_trial(settings: Settings) -> None:
    settings.ENV = Environment(admin_password=SecretStr("admin"))

    prepare()

    assert User.objects.get().check_password("admin")


def test_does_not_change_the_password_later(settings: Settings) -> None:
    prepare()
    settings.ENV = Environment(admin_password=SecretStr("another"))

    prepare()

    assert not User.objects.get(username="admin").check_password("another")


@pytest.mark.pitfall(22)
def test_collects_the_static_files(static_root: Path) -> None:
    prepare()

    assert (static_root / "admin" / "css" / "base.css").is_file()
