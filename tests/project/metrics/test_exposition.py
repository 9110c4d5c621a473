"""Metrics that several processes share: sums, and the gauges of processes that have ended."""

import os
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT

WRITE = """
from project.metrics.counters import accepted_total, event_subscribers
accepted_total.labels("high").inc(2)
event_subscribers.set(5)
"""
READ = f"""
import sys
from project.metrics.exposition import render_metrics
{WRITE}
sys.stdout.buffer.write(render_metrics())
"""


def run(code: str, folder: Path) -> str:
    """Run Python code in a process that shares its metrics in the folder. Return its output."""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


def test_counters_of_ended_processes_stay_and_their_gauges_do_not(tmp_path: Path) -> None:
    run(WRITE, tmp_path)
    run(WRITE, tmp_path)

    lines = run(READ, tmp_path).splitlines()

    assert 'mailrail_emails_accepted_total{priority="high"} 6.0' in lines
    assert "mailrail_event_subscribers 5.0" in lines
    assert sum(line.startswith("process_open_fds ") for line in lines) == 1
