"""Django's command line, with one-line errors for an unusable database or data directory."""

from pathlib import Path

from django.core.management import execute_from_command_line

from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.config.database_schema import UnusableDatabase, error_reason
from project.config.environment import read_environment
from project.config.metrics_directory import share_metrics

TRACEBACK_OPTION = "--traceback"  # Django's option to show the full traceback


def main(arguments: list[str]) -> None:
    """Run a management command. Exits with code 1 and a one-line error if the database or the data directory is unusable.

    `serve` and `deliver` start even if the database is unavailable, because it may become available later.
    """
    share_metrics(arguments)
    try:
        execute_from_command_line(arguments)
    except (*DATABASE_UNAVAILABLE_ERRORS, UnusableDatabase, OSError) as error:
        message = _one_line(error)
        if TRACEBACK_OPTION in arguments or message is None:
            raise
        raise SystemExit(message) from None


def _one_line(error: Exception) -> str | None:
    """Return the error as one line for the operator, or None if it has another cause than the database or `DATA_DIR`."""
    if isinstance(error, UnusableDatabase):
        return str(error)
    if isinstance(error, OSError):
        path = _unusable_path(error)
        return None if path is None else f"DATA_DIR: {path} cannot be used: {error.strerror}."
    subject = "DATA_DIR: its" if read_environment().database_url is None else "DATABASE_URL: the"
    return f"{subject} database cannot be used: {error_reason(error)}."


def _unusable_path(error: OSError) -> Path | None:
    """Return the error's path if it is in `DATA_DIR`, `DATA_DIR` if it is a parent of `DATA_DIR`, and None for any other path."""
    if not isinstance(error.filename, str):
        return None
    folder, path = read_environment().data_dir.resolve(), Path(error.filename)
    return path if path.is_relative_to(folder) else folder if folder.is_relative_to(path) else None
