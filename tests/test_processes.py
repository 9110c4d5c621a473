"""Processes that tests start."""

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT, processes_without_coverage

SIGNALS = "(signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)"
REPORT = f"import signal; print(*(signal.getsignal(each) in (signal.SIG_DFL, signal.default_int_handler) for each in {SIGNALS}))"


def test_processes_have_default_signals_if_the_tests_run_in_the_background() -> None:
    program = f"""
import signal, subprocess, sys
from tests.processes import start_processes_with_default_signals
for each in {SIGNALS}:
    signal.signal(each, signal.SIG_IGN)
start_processes_with_default_signals()
subprocess.run([sys.executable, "-c", {REPORT!r}], check=True)
signal.raise_signal(signal.SIGHUP)  # this process itself still ignores the signal
print("alive", flush=True)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["True", "True", "True", "alive"]


def test_processes_cache_bytecode_even_if_the_environment_forbids_it() -> None:
    assert "PYTHONDONTWRITEBYTECODE" not in os.environ


@pytest.mark.no_cover
def test_processes_of_a_test_without_coverage_are_not_measured() -> None:
    assert "COVERAGE_PROCESS_CONFIG" not in os.environ


def test_coverage_of_processes_is_measured_again_after_such_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "config")

    with processes_without_coverage():
        during = os.environ.get("COVERAGE_PROCESS_CONFIG")

    assert (during, os.environ["COVERAGE_PROCESS_CONFIG"]) == (None, "config")


@pytest.fixture(scope="module")
def earlier_keys() -> list[str]:
    """Return the keys that the tests before this one got."""
    return []


@pytest.mark.parametrize("number", range(25))
def test_any_number_of_tests_of_a_module_get_an_api_key_of_their_own(
    api_key: str, api_keys: list[str], earlier_keys: list[str], number: int
) -> None:
    assert api_key not in (*api_keys, *earlier_keys)
    earlier_keys.append(api_key)
