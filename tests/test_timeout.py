"""The timeout for tests: a test that hangs is reported as failed, and the other tests still run."""

import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT

HANGS = """
import threading

def waits_forever(event):
    event.wait()

def test_hangs():
    event = threading.Event()
    threading.Thread(target=waits_forever, args=[event], daemon=True).start()
    event.wait()

def test_runs_next():
    pass
"""

WITHOUT_SLOW_PLUGINS = ["-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:hypothesispytest"]


def test_a_test_that_hangs_fails_with_the_stacks_of_all_threads(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    command = ["-m", "pytest", "-c", "pyproject.toml", "-o", "timeout=1", *WITHOUT_SLOW_PLUGINS, "--numprocesses=1"]

    run = subprocess.run([sys.executable, *command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "1 failed, 1 passed" in run.stdout
    assert "Failed: Timeout" in run.stdout
    assert "in waits_forever" in run.stdout
