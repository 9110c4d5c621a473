"""Costs of the indexes of the table of emails on PostgreSQL: `python -m bench.index_updates`.

Each set of indexes gets a table of its own with 50,000 sent emails. Then 10,000 emails are inserted, claimed and recorded as
sent, in transactions as large as those of the delivery worker. Needs PostgreSQL (Debian: postgresql). See decision 0039.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from tempfile import TemporaryDirectory
from uuid import UUID

import psycopg

from tests.postgresql import cluster
from tests.processes import ROOT

SENT, QUEUED, INSERTED, CLAIMED, RECORDED = 50_000, 10_000, 1000, 100, 25
FIRST_ID = 10**12
WORKER = "w" * 32
KEY_ONLY = "KEY ONLY"
ALL_TEMPLATES = "DROP INDEX email_template; CREATE INDEX all_templates ON emails_email (template_id)"
QUEUE_TABLE = """
    CREATE TABLE queue (email_id uuid PRIMARY KEY, owner varchar(40), status varchar(10), priority varchar(6),
        next_attempt_at timestamptz, attempts int, claimed_by varchar(32), lease_expires_at timestamptz)
        WITH (autovacuum_enabled = off, fillfactor = 70);
    CREATE INDEX ON queue (priority, owner, email_id) WHERE claimed_by = '';
    CREATE INDEX ON queue (status, priority, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
    CREATE INDEX ON queue (status, priority, owner, next_attempt_at) WHERE next_attempt_at IS NOT NULL
"""
SETS = {
    "with an index of all templates, as before": ALL_TEMPLATES,
    "the indexes of this version": "",
    "fillfactor 70": "ALTER TABLE emails_email SET (fillfactor = 70)",
    "without email_owner_status": "DROP INDEX email_owner_status",
    "only the primary key": KEY_ONLY,
    "only the primary key, fillfactor 50": f"{KEY_ONLY}; ALTER TABLE emails_email SET (fillfactor = 50)",
    "a queue table beside it": QUEUE_TABLE,
}
INSERT = f"""
    INSERT INTO emails_email (id, owner, created_at, status, priority, sender, "to", cc, bcc, reply_to, recipients, subject, text,
        html, tags, message_id, attempts, last_error, recipient_results, claimed_by)
    SELECT lpad(to_hex(n + {FIRST_ID}), 32, '0')::uuid, 'key:' || n %% 20, now(), %s, 'normal', 'Shop <shop@example.com>',
        '["ada@example.com"]', '[]', '[]', '[]', '["ada@example.com"]', 'Your order ' || n, '', '', '{{"order": "42"}}',
        '<' || n || '@example.com>', 0, '', '{{}}', '' FROM generate_series(%s::int, %s::int) AS n
"""  # noqa: S608  # only constants
TO_QUEUE = """
    INSERT INTO queue SELECT id, owner, status, priority, NULL, 0, '', NULL FROM emails_email
     WHERE status = 'queued' AND id BETWEEN %s AND %s
"""
CLAIM = "status = 'sending', claimed_by = %s, lease_expires_at = now(), attempts = attempts + 1, next_attempt_at = NULL"
FINISH = "status = 'sent', sent_at = now(), last_error = '', reason = NULL, relay = '127.0.0.1:25'"
RELEASE = ", claimed_by = '', lease_expires_at = NULL, crashes = NULL"

Connection = psycopg.Connection[tuple[int, ...]]


def create_tables(connection: Connection, changes: str) -> None:
    """Create a copy of the table of emails, with its indexes and the changes, and the emails that are sent already."""
    connection.execute("DROP SCHEMA IF EXISTS bench CASCADE; CREATE SCHEMA bench; SET search_path = bench")
    connection.execute("CREATE TABLE emails_email (LIKE public.emails_email INCLUDING DEFAULTS) WITH (autovacuum_enabled = off)")
    definitions = connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'emails_email'")
    for (definition,) in definitions.fetchall():
        if not changes.startswith(KEY_ONLY) or "emails_email_pkey" in str(definition):
            connection.execute(str(definition).replace("public.", "bench.").encode())
    connection.execute((changes.removeprefix(KEY_ONLY).strip("; ") or "SELECT 1").encode())
    connection.execute(INSERT.encode(), ["sent", 1, SENT])
    connection.execute("VACUUM ANALYZE emails_email")
    connection.execute("CHECKPOINT")


def insert(connection: Connection, *, queue: bool) -> None:
    """Insert the emails to send."""
    for start in range(SENT + 1, SENT + QUEUED + 1, INSERTED):
        with connection.transaction():
            connection.execute(INSERT.encode(), ["queued", start, start + INSERTED - 1])
            if queue:
                connection.execute(TO_QUEUE, [_id(start), _id(start + INSERTED - 1)])


def deliver(connection: Connection, *, queue: bool) -> None:
    """Claim the emails, and record them as sent."""
    ids = [_id(number) for number in range(SENT + 1, SENT + QUEUED + 1)]
    claim = f"UPDATE {'queue' if queue else 'emails_email'} SET {CLAIM} WHERE {'email_id' if queue else 'id'} = ANY(%s)"  # noqa: S608
    for claimed in _parts(ids, CLAIMED):
        connection.execute(claim.encode(), [WORKER, claimed])
        for recorded in _parts(claimed, RECORDED):
            with connection.transaction():
                if queue:
                    connection.execute("DELETE FROM queue WHERE claimed_by = %s AND email_id = ANY(%s)", [WORKER, recorded])
                condition = "id = ANY(%s)" if queue else "id = ANY(%s) AND status = 'sending'"
                changes = FINISH if queue else FINISH + RELEASE
                connection.execute(f"UPDATE emails_email SET {changes} WHERE {condition}".encode(), [recorded])  # noqa: S608


def measure(url: str, changes: str) -> list[float]:
    """Return bytes of WAL and µs of CPU for each inserted email, then for each delivered one, and all updates and HOT updates."""
    with psycopg.connect(url, autocommit=True) as connection, psycopg.connect(url, autocommit=True) as observer:
        create_tables(connection, changes)
        marks = [_mark(observer, connection.info.backend_pid)]
        for step in (insert, deliver):
            step(connection, queue=changes == QUEUE_TABLE)
            marks.append(_mark(observer, connection.info.backend_pid))
        connection.execute("SELECT pg_stat_force_next_flush()")
        time.sleep(1.5)  # until the statistics are visible
        row = observer.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = 'bench' AND relname = 'emails_email'"
        )
        updates = row.fetchone() or (0, 0)
    costs = [(after - before) / QUEUED for old, new in pairwise(marks) for before, after in zip(old, new, strict=True)]
    return [*costs, *updates]


def _mark(observer: Connection, backend: int) -> tuple[float, float]:
    row = observer.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    with open(f"/proc/{backend}/stat") as stat:  # noqa: PTH123
        fields = stat.read().rpartition(")")[2].split()
    return float(row[0] if row else 0), 1e6 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _parts(ids: Sequence[UUID], size: int) -> list[list[UUID]]:
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def _id(number: int) -> UUID:
    return UUID(int=FIRST_ID + number)


def main() -> None:
    """Measure each set three times, and print the medians."""
    with cluster() as server, TemporaryDirectory() as data:
        env = {**os.environ, "DATABASE_URL": server.url, "DATA_DIR": data}
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=env, check=True)
        print(f"{'':44}{'insert: WAL':>12}{'CPU':>5}{'deliver: WAL':>14}{'CPU':>5}{'updates':>9}{'HOT':>8}")
        for name, changes in SETS.items():
            rounds = [measure(server.url, changes) for _ in range(3)]
            result = [median(values) for values in zip(*rounds, strict=True)]
            print("{:44}{:12.0f}{:5.0f}{:14.0f}{:5.0f}{:9.0f}{:8.0f}".format(name, *result), flush=True)


if __name__ == "__main__":
    main()
