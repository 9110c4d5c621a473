"""The configurations of the Django apps."""

import os
import subprocess
import sys
from pathlib import Path

from tests.processes import BASE_ENV, ROOT

IMPORTED_SERVERS = "import django, sys; django.setup(); print({'daphne.server', 'twisted', 'fastapi'} & sys.modules.keys())"


def test_commands_start_without_importing_a_server(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORTED_SERVERS]
    env = {**os.environ, **BASE_ENV, "DATA_DIR": str(tmp_path)}
    result = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)

    assert result.stdout == "set()\n"


def test_a_server_imports_celery_only_if_it_is_the_engine(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import project.asgi, sys; print({'celery', 'kombu'} & sys.modules.keys())"]
    env = {**os.environ, **BASE_ENV, "DATA_DIR": str(tmp_path), "DELIVERY_WORKER": "subprocess"}
    result = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)

    assert result.stdout == "set()\n"
