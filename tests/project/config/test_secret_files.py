"""Secrets that come from files."""

from pathlib import Path
from unittest.mock import patch

import pytest

from project.config.environment import Environment, read_environment
from project.config.secret_files import MAX_SECRET_BYTES, _is_secret

KEY = "k" * 50
VALID = {
    "SECRET_KEY": KEY,
    "SECRET_KEY_FALLBACKS": KEY,
    "ADMIN_PASSWORD": "a password with a space at the end ",
    "METRICS_TOKEN": "t" * 20,
    "DATABASE_URL": "postgres://ada:secret@db/mail",
    "REDIS_URL": "redis://cache",
    "EMAIL_URL": "smtps://ada:secret@relay",
}


@pytest.fixture(autouse=True)
def _unset_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def start_error() -> str:
    """Return the message with which the start is refused."""
    with pytest.raises(SystemExit) as refused:
        read_environment()
    return str(refused.value)


def test_every_secret_variable_has_a_valid_value_here() -> None:
    secrets = {name.upper() for name, field in Environment.model_fields.items() if _is_secret(field.annotation)}

    assert secrets >= VALID.keys()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", VALID)
def test_reads_a_secret_from_a_file(name: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(f"{VALID[name]}{ending}".encode())
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))

    value = getattr(read_environment(), name.lower())

    (secret,) = value if isinstance(value, list) else [value]
    assert secret.get_secret_value() == VALID[name]


def test_reads_several_fallback_keys_from_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text(f"{'a' * 40}\n{'b' * 40},{'c' * 40}\n")
    monkeypatch.setenv("SECRET_KEY_FALLBACKS_FILE", str(tmp_path / "keys"))

    keys = [key.get_secret_value() for key in read_environment().secret_key_fallbacks]

    assert keys == ["a" * 40, "b" * 40, "c" * 40]


@pytest.mark.parametrize("name", VALID)
def test_refuses_a_secret_that_is_given_twice(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text(VALID[name])
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv(name, VALID[name])

    assert start_error() == f"{name}_FILE: {name} is set too. Set only one of them."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty."),
        (b"\n", "is empty."),
        (b" \r\n\n", "is empty."),
        (b"\xff\xfe", "is not UTF-8 text."),
        (b"one\ntwo", "has more than one line."),
        (b"x" * (MAX_SECRET_BYTES + 1), f"is larger than {MAX_SECRET_BYTES} bytes."),
    ],
)
def test_refuses_an_unusable_file(content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    monkeypatch.setenv("ADMIN_PASSWORD_FILE", str(path))

    assert start_error() == f"ADMIN_PASSWORD_FILE: {path} {reason}"


def test_names_all_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "missing"))
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path))

    assert sorted(start_error().splitlines()) == [
        f"DATABASE_URL_FILE: {tmp_path} is not a file.",
        f"SECRET_KEY_FILE: {tmp_path / 'missing'} does not exist.",
    ]


def test_refuses_a_file_that_is_not_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.touch()
    monkeypatch.setenv("SECRET_KEY_FILE", str(path))

    with patch.object(Path, "open", side_effect=PermissionError(13, "Permission denied")):  # root can read every file
        assert start_error() == f"SECRET_KEY_FILE: {path} cannot be read: Permission denied."


def test_an_invalid_secret_is_reported_without_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("hunter2")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "secret"))

    message = start_error()

    assert message.startswith("SECRET_KEY_FILE: ")
    assert "hunter2" not in message


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", "")

    assert read_environment().secret_key is None
