"""Processes that tests start."""

import subprocess
import sys

from tests.processes import ROOT

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
