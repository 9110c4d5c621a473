"""Secrets from files, as Docker and Kubernetes provide them: `SECRET_KEY_FILE=/run/secrets/key` instead of `SECRET_KEY=…`."""

import os
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

SUFFIX = "_FILE"
MAX_SECRET_BYTES = 64 * 1024


class SecretFileError(Exception):
    """Secrets that cannot be read from their files. `lines` has one message for each of them."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class SecretFilesSource(PydanticBaseSettingsSource):
    """Reads each secret variable from the file that the variable with the suffix `_FILE` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the secret, the name of the field, and that the value is no JSON. Raises `ValueError` with the reason."""
        variable = field_name.upper()
        path = _environment_variable(variable + SUFFIX)
        if not path:
            return None, field_name, False
        if _environment_variable(variable):
            raise ValueError(f"{variable} is set too. Set only one of them.")
        return (
            _read_secret(Path(path), is_list=not isinstance(field.annotation, type) and _is_list(field.annotation)),
            field_name,
            False,
        )

    def __call__(self) -> dict[str, Any]:
        """Return the secrets that come from files. Raises `SecretFileError`."""
        values, problems = dict[str, Any](), list[str]()
        for name, field in self.settings_cls.model_fields.items():
            if not _is_secret(field.annotation):
                continue
            try:
                value, _, _ = self.get_field_value(field, name)
            except ValueError as error:
                problems.append(f"{name.upper()}{SUFFIX}: {error}")
                continue
            if value is not None:
                values[name] = value
        if problems:
            raise SecretFileError(problems)
        return values


def comes_from_file(name: str) -> bool:
    """Return whether the environment names a file for this field."""
    return bool(_environment_variable(name.upper() + SUFFIX))


def _environment_variable(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.lower()) or ""  # an empty variable counts as unset


def _read_secret(path: Path, *, is_list: bool) -> str:
    try:
        if not path.is_file():
            raise ValueError(f"{path} is not a file." if path.exists() else f"{path} does not exist.")
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text.") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"{path} is larger than {MAX_SECRET_BYTES} bytes.")
    if not text.strip():
        raise ValueError(f"{path} is empty.")
    if not is_list and ("\n" in text or "\r" in text):
        raise ValueError(f"{path} has more than one line.")
    return text


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(each) for each in get_args(annotation))


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list
