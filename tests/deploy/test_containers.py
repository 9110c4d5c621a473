"""The image, compose.yaml, the Kubernetes manifests and the systemd units, as far as they can be checked without running them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from project.config.environment import Environment
from tests.processes import BASE_ENV, ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
COPIED = [source for source in re.findall(r"^COPY (\S+) \S+$", DOCKERFILE, re.MULTILINE) if not source.startswith("--")]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "mailrail.yaml").read_text()))
UNITS = sorted((DEPLOY / "systemd").iterdir())
KUBERNETES = "1.34"


def manage(command: str, *, cwd: Path = ROOT, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of `manage.py`. Return its exit code and its output."""
    return subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=cwd,
        env={**os.environ, **BASE_ENV, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_image_contains_everything_that_mailrail_needs(tmp_path: Path) -> None:
    for source in COPIED:
        path = ROOT / source
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, tmp_path / path.name)
    result = manage("prepare", cwd=tmp_path, DATA_DIR=str(tmp_path / "data"))

    assert (result.returncode, "administrator" in result.stdout) == (0, True), result.stderr

    assert (tmp_path / "data" / "static" / "admin").is_dir()


def test_the_build_context_contains_what_the_image_copies() -> None:
    ignore = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()

    assert {line[1:] for line in ignore if line.startswith("!")} == set(COPIED)


def test_the_image_has_no_test_tools() -> None:
    packages = re.findall(r"^([\w.-]+)==", (ROOT / "requirements-runtime.txt").read_text(), re.MULTILINE)
    tested = re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    runtime = re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements-runtime.txt").read_text(), re.MULTILINE)

    assert "django" in packages
    assert not {"pytest", "httpx", "hypothesis", "mypy"} & set(packages)
    assert set(runtime) <= set(tested)  # the versions that the tests run with


def test_the_container_does_not_run_as_root() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)


def test_compose_follows_its_specification() -> None:
    schema = json.loads((ROOT / "tests" / "deploy" / "schemas" / "compose-spec.json").read_text())
    extensions = {name for name in COMPOSE if name.startswith("x-")}

    compose = {name: value for name, value in COMPOSE.items() if name not in extensions}
    jsonschema.validate(compose, schema, cls=jsonschema.Draft7Validator)


def test_compose_sets_only_variables_that_exist() -> None:
    names = {
        name for service in COMPOSE["services"].values() if service["image"] == "mailrail" for name in service["environment"]
    }

    assert names <= {name.upper() for name in Environment.model_fields}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: f"{manifest['kind']} {manifest['metadata']['name']}")
def test_each_manifest_follows_the_schema_of_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_manifests_set_only_variables_that_exist() -> None:
    names = {name for manifest in MANIFESTS for name in manifest.get("data", {}) | manifest.get("stringData", {})}

    assert names <= {name.upper() for name in Environment.model_fields}


def test_the_secrets_of_the_manifest_must_be_replaced(tmp_path: Path) -> None:
    values = {name: value for each in MANIFESTS for name, value in (each.get("data", {}) | each.get("stringData", {})).items()}
    own = {"DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/db", "REDIS_URL": ""}

    result = manage("prepare", **(values | own))

    assert result.returncode != 0
    assert "SECRET_KEY" in result.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
def test_the_systemd_units_are_valid(tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text().replace("/opt/mailrail/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text.replace("/opt/mailrail/.venv/bin/celery", sys.executable))

    command = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    ours = [line for line in result.stderr.splitlines() if "mailrail" in line]
    assert (ours, result.returncode) == ([], 0)
