"""The options of `manage.py serve`."""

import pytest
from django.core.management.base import CommandError

from project.management import serve_options
from project.management.serve_options import MAX_PROCESSES, parse_serve_options


def test_leaves_all_other_options_to_daphne() -> None:
    options = parse_serve_options(["-b", "::1", "--prepare", "--processes", "3", "-p", "80"], default_processes=None)

    assert (options.daphne, options.prepare, options.processes) == (["-b", "::1", "-p", "80"], True, 3)


def test_auto_means_one_process_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_options, "usable_cores", lambda: 7)

    assert parse_serve_options(["--processes=auto"], default_processes=None).processes == 7


def test_the_option_overrides_the_environment_variable() -> None:
    assert parse_serve_options([], default_processes="2").processes == 2
    assert parse_serve_options(["--processes", "4"], default_processes="2").processes == 4
    assert parse_serve_options([], default_processes=None).processes is None


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "²", str(MAX_PROCESSES + 1)])
def test_rejects_an_invalid_number(text: str) -> None:
    with pytest.raises(CommandError, match="must be auto or a number from 1 to 256"):
        parse_serve_options([f"--processes={text}"], default_processes=None)


def test_a_missing_number_is_an_error() -> None:
    with pytest.raises(CommandError, match="expected one argument"):
        parse_serve_options(["--processes"], default_processes=None)


def test_a_process_of_the_supervisor_starts_no_supervisor() -> None:
    options = parse_serve_options(["--listen-fds", "5,6", "--prepare"], default_processes="4")

    assert (options.processes, options.prepare, options.inherited_fds) == (None, False, [5, 6])
