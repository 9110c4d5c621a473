"""Rows that an administrator deletes with SQL take their dependent rows along, as rows that Mailrail deletes."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.postgresql import cluster, program
from tests.processes import BASE_ENV, ROOT

NEEDS_POSTGRESQL = pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")
DATABASES = ["sqlite", pytest.param("postgresql", marks=NEEDS_POSTGRESQL)]

# All foreign keys: a new one needs a decision.
RULES = {
    ("accounts_user_groups", "group_id"): "CASCADE",
    ("accounts_user_groups", "user_id"): "CASCADE",
    ("accounts_user_user_permissions", "permission_id"): "CASCADE",
    ("accounts_user_user_permissions", "user_id"): "CASCADE",
    ("api_keys_apikey", "owner_id"): "SET NULL",
    ("auth_group_permissions", "group_id"): "CASCADE",
    ("auth_group_permissions", "permission_id"): "CASCADE",
    ("auth_permission", "content_type_id"): "CASCADE",
    ("django_admin_log", "content_type_id"): "SET NULL",
    ("django_admin_log", "user_id"): "CASCADE",
    ("emails_bulkaction", "user_id"): "CASCADE",
    ("emails_email", "resent_from_id"): "SET NULL",
    ("emails_email", "template_id"): "NO ACTION",
    ("emails_rawmessage", "email_id"): "CASCADE",
    ("emails_recipient", "email_id"): "CASCADE",
    ("emails_subjectword", "email_id"): "CASCADE",
    ("emails_tag", "email_id"): "CASCADE",
    ("events_event", "email_id"): "CASCADE",
    ("otp_static_staticdevice", "user_id"): "CASCADE",
    ("otp_static_statictoken", "device_id"): "CASCADE",
    ("otp_totp_totpdevice", "user_id"): "CASCADE",
    ("retention_personerasure", "user_id"): "CASCADE",
    ("suppressions_suppression", "email_id"): "SET NULL",
    ("transports_mailboxterm", "message_id"): "CASCADE",
}


@pytest.fixture(scope="module", params=DATABASES)
def report(request: pytest.FixtureRequest, installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run the program on a database, and return its report."""
    data = shutil.copytree(installation, tmp_path_factory.mktemp("by_hand") / "data")
    with ExitStack() as stack:
        env = {**os.environ, **BASE_ENV, "DATA_DIR": str(data)}
        if request.param == "postgresql":
            env["DATABASE_URL"] = stack.enter_context(cluster()).url
        command = [sys.executable, "-m", "tests.servers.sql_by_hand"]
        yield json.loads(subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout)


def test_every_foreign_key_has_its_rule_also_after_a_migration_that_lost_it(report: Any) -> None:
    assert dict(map(parse_rule, report["rules"])) == RULES


def parse_rule(rule: Any) -> tuple[tuple[str, str], str]:
    """Return the table, the column and the action of a trigger, or of a constraint of PostgreSQL, which must be valid."""
    if isinstance(rule, list):
        table, definition, is_valid = rule
        assert is_valid
        column = re.search(r"FOREIGN KEY \((\w+)\)", definition)
        action = re.search(r"ON DELETE (CASCADE|SET NULL)", definition)
        assert column is not None
        assert definition.endswith("DEFERRABLE INITIALLY DEFERRED")
        return (table, column[1]), action[1] if action else "NO ACTION"
    statement = re.search(r'(DELETE FROM|UPDATE|SELECT 1 FROM) "(\w+)" (?:SET .*)?WHERE "(\w+)" = OLD\."id"', rule)
    assert statement is not None
    return (statement[2], statement[3]), {"DELETE FROM": "CASCADE", "UPDATE": "SET NULL"}.get(statement[1], "NO ACTION")


def test_deletes_dependent_rows(report: Any) -> None:
    assert min(report["before"].values()) >= 1
    assert report["after"] == dict.fromkeys(report["before"], 0)


def test_clears_references_of_rows_that_stay(report: Any) -> None:
    assert report["references"] == [None, None, None]


def test_refuses_to_delete_a_template_that_an_email_uses(report: Any) -> None:
    assert report["protected"] is True
