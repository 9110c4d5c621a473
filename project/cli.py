"""Django's command line. What a variable leads to and cannot be used, a database or a folder, ends it in one line."""

from pathlib import Path

from django.core.management import execute_from_command_line

from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.config.environment import read_environment

TRACEBACK_OPTION = "--traceback"  # Django's own: whoever asks for it sees all


def main(arguments: list[str]) -> None:
    """Run one of Django's or our commands. Exits with 1, naming the variable, where its database or its folder fails.

    `serve` and `deliver` start all the same while the database is away: it may come later.
    """
    try:
        execute_from_command_line(arguments)
    except DATABASE_UNAVAILABLE_ERRORS as error:
        if TRACEBACK_OPTION in arguments:
            raise
        raise SystemExit(_about_database(error)) from None
    except OSError as error:
        if TRACEBACK_OPTION in arguments or (path := _unusable(error)) is None:
            raise
        raise SystemExit(f"DATA_DIR: {path} cannot be used: {error.strerror}.") from None


def _about_database(error: Exception) -> str:
    # The server's own words, without what psycopg puts before them: parts of the URL, which may hold anything if it is misspelt.
    said = str(error).partition("\n")[0].rpartition(" failed: ")[2].strip()
    name = "DATA_DIR: its" if read_environment().database_url is None else "DATABASE_URL: the"
    return f"{name} database cannot be used: {said}."


def _unusable(error: OSError) -> Path | None:
    """What in the folder, or the folder itself, if it is about that."""
    if not isinstance(error.filename, str):
        return None
    folder, path = read_environment().data_dir.resolve(), Path(error.filename)
    return path if path.is_relative_to(folder) else folder if folder.is_relative_to(path) else None
