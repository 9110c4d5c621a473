"""Lists of emails and events on PostgreSQL read few rows, no matter how many emails are stored or who owns them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgresql import cluster, program
from tests.processes import ROOT

pytestmark = pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")

EMAILS = 20_000
# A combination of three filters counts up to a thousand rows of each, and then reads up to a thousand rows of one of them.
MAX_ROWS = 4_500
# For each case, the number of rows that its queries read: those that they use and those that they discard.
ROWS_READ = """
import json, sys
import django
django.setup()
from django.db import connection
from bench.growth_cases import cases
from bench.million import fill
from project.bridge.database import conditions
from project.emails import search

SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Bitmap Index Scan")

def rows(node):
    own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    children = sum(map(rows, node.get("Plans", ())))
    return children + (own * node["Actual Loops"] if node["Node Type"] in SCANS else 0)

def rows_read(case):
    statements = []
    def record(execute, sql, params, many, context):
        statements.append((sql, params))
        return execute(sql, params, many, context)
    prepared = case.prepare()
    with connection.execute_wrapper(record):
        case.act(prepared)
    total = 0
    with connection.cursor() as cursor:
        for sql, params in statements:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            [[[plan]]] = cursor.fetchall()
            total += rows(plan["Plan"])
    return total

conditions.FIRST_CHECKED_ROWS, conditions.MAX_CHECKED_ROWS = 50, 200  # in proportion to the number of emails
search.MAX_ROWS = 200
fill(int(sys.argv[1]))
connection.cursor().execute("VACUUM ANALYZE")
print(json.dumps({case.name: rows_read(case) for case in cases() if case.name.startswith(("list", "events", "get"))}))
"""


@pytest.mark.timeout(300)
def test_lists_read_few_rows(tmp_path: Path) -> None:
    with cluster() as server:
        settings = {"DATA_DIR": str(tmp_path), "DATABASE_URL": server.url, "DJANGO_SETTINGS_MODULE": "project.settings"}
        environment = {"PATH": os.environ["PATH"], **settings}
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=environment, check=True)
        command = [sys.executable, "-c", ROWS_READ, str(EMAILS)]
        output = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    rows_by_case = json.loads(output)
    assert len(rows_by_case) > 60
    assert "list, admin status=canceled&tag=kind:reminder" in rows_by_case
    assert {name: rows for name, rows in rows_by_case.items() if rows > MAX_ROWS} == {}
