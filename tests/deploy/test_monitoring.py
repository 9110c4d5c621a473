"""The Grafana dashboard and the alert rules of Prometheus."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from project.delivery.queue_collector import QueueCollector
from project.delivery.queue_stats import QueueStats
from project.emails.status import NOT_SENT
from project.metrics.exposition import render_metrics
from tests.markdown import rows
from tests.processes import ROOT

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: prometheus)")
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "mailrail.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
GENERATED = frozenset({"up"})  # by Prometheus itself


def expressions() -> Iterator[str]:
    """Yield all expressions of the alerts and the dashboard, with values for Grafana's variables."""
    yield from (rule["expr"] for rule in RULES)
    for panel in PANELS:
        yield from (target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*") for target in panel["targets"])


def import_every_metric() -> None:
    """Import the modules that define metrics, as the processes of Mailrail do."""
    for path in (ROOT / "project" / "metrics").glob("*.py"):
        import_module(f"project.metrics.{path.stem}")


def run_promtool(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run promtool in a folder, and return the finished process."""
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], cwd=folder, check=False, capture_output=True, text=True)


def test_every_metric_of_the_dashboard_and_the_alerts_exists() -> None:
    import_every_metric()
    stats = QueueStats(dict.fromkeys(NOT_SENT, 0), None, is_relay_paused=False)
    families = list(text_string_to_metric_families(render_metrics(QueueCollector(lambda: stats)).decode()))
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    exposed = {family.name + suffix for family in families for suffix in suffixes.get(family.type, [""])}
    used = {name for each in expressions() for name in re.findall(r"\b(?:mailrail|process)_\w+", each)} | GENERATED

    assert len(used) > 15
    assert used - exposed == GENERATED


def test_the_dashboard_shows_every_metric() -> None:
    text = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    documented = [row[0].strip("`") for row in rows((ROOT / "docs" / "observability.md").read_text(), "Metrics")]
    names = [name for name in documented if name.startswith("mailrail_")]

    assert len(names) > 15
    assert [name for name in names if name not in text] == []


@needs_promtool
def test_promtool_accepts_all_expressions(tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions())]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))

    result = run_promtool("check", "rules", str(ALERTS), "panels.yml", folder=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert f"SUCCESS: {len(recorded)} rules found" in result.stdout


@needs_promtool
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(ALERTS.read_text())
    (tmp_path / "cases.yml").write_text((Path(__file__).parent / "alert_cases.yml").read_text())

    result = run_promtool("test", "rules", "cases.yml", folder=tmp_path)

    assert "SUCCESS" in result.stdout, result.stdout + result.stderr


def test_every_alert_has_an_answer_and_a_case() -> None:
    names = [rule["alert"] for rule in RULES]
    answers = (ROOT / "docs" / "operating.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    cases = yaml.safe_load((Path(__file__).parent / "alert_cases.yml").read_text())["tests"]
    fired = {alert["alertname"] for case in cases for alert in case["alert_rule_test"] if alert.get("exp_alerts")}

    assert re.findall(r"^### (.*)$", answers, re.MULTILINE) == names
    assert [name for name in names if not re.search(rf"### {name}\n\n\w", answers)] == []
    assert fired == set(names)


def test_the_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for box in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]

    assert len(ids) == len(set(ids))
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
