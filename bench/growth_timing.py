"""Times the same operations in turn on two databases with the same tables. Needs `django.setup()`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from textwrap import shorten
from typing import Any

import dj_database_url
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from bench.growth_cases import Case
from bench.million import fill

MAX_RATIO = 1.3
MAX_CASE_SECONDS = 10.0  # limit for all rounds of one case
MIN_ROUNDS = 3
PLAN_WIDTH = 400  # characters
EXPLAINED_STATEMENTS = ("SELECT", "UPDATE", "DELETE")  # statements that search for rows


@dataclass(frozen=True)
class Databases:
    """A connection to each database."""

    small: BaseDatabaseWrapper
    large: BaseDatabaseWrapper

    @classmethod
    def filled(cls, emails: Mapping[str, int]) -> "Databases":
        """Fill the databases. `emails` is {URL: number of emails}, with the small database first."""
        return cls(*(_filled(url, count) for url, count in emails.items()))

    def close(self) -> None:
        """Close both connections."""
        self.small.close()
        self.large.close()

    def compare(self, cases: Sequence[Case], *, rounds: int) -> bool:
        """Print a line for each case, and below it the query plans of the large database. Return whether all cases pass."""
        passed = True
        print(f"{'milliseconds':56}{'small':>10}{'large':>10}{'ratio':>8}  <= {MAX_RATIO:g}")
        for case in cases:
            small, large = self._timed(case, rounds)
            met = large / small <= MAX_RATIO
            passed = passed and met
            verdict = "PASS" if met else "miss"
            print(f"{case.name:56}{small * 1000:10.2f}{large * 1000:10.2f}{large / small:8.2f}  {verdict}")
            for plan in _explained(case, self.large):
                print(f"    {plan}", flush=True)
        return passed

    def _timed(self, case: Case, rounds: int) -> tuple[float, float]:
        """Return the median seconds of a case on each database. The databases are measured in turn."""
        began = time.perf_counter()
        _once(case, self.small)
        _once(case, self.large)
        small: list[float] = []
        large: list[float] = []
        while len(small) < MIN_ROUNDS or (len(small) < rounds and time.perf_counter() - began < MAX_CASE_SECONDS):
            small.append(_once(case, self.small))
            large.append(_once(case, self.large))
        return median(small), median(large)


def _filled(url: str, emails: int) -> BaseDatabaseWrapper:
    database = connections["default"].copy()
    database.settings_dict["NAME"] = dj_database_url.parse(url)["NAME"]
    connections["default"] = database
    fill(emails)
    if database.vendor == "postgresql":  # as autovacuum does later
        with database.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    return database


def _once(case: Case, database: BaseDatabaseWrapper) -> float:
    """Return the seconds of one transaction, including its commit."""
    connections["default"] = database
    prepared = _committed(case.prepare)
    began = time.perf_counter()
    result = _committed(partial(case.act, prepared))
    seconds = time.perf_counter() - began
    _committed(partial(case.undo, result))
    return seconds


def _committed(function: Callable[[], Any]) -> Any:
    with transaction.atomic():
        return function()


def _explained(case: Case, database: BaseDatabaseWrapper) -> list[str]:
    """Return the distinct query plans of all statements of a case."""
    connections["default"] = database
    statements: list[tuple[str, Any]] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    prepared = _committed(case.prepare)
    with database.execute_wrapper(record):
        result = _committed(partial(case.act, prepared))
    _committed(partial(case.undo, result))
    return list(dict.fromkeys(_plan(database, sql, params) for sql, params in statements if sql.startswith(EXPLAINED_STATEMENTS)))


def _plan(database: BaseDatabaseWrapper, sql: str, params: Any) -> str:
    """Return the plan on one line, cut to `PLAN_WIDTH` characters."""
    explain = "EXPLAIN QUERY PLAN" if database.vendor == "sqlite" else "EXPLAIN (COSTS OFF)"
    with database.cursor() as cursor:
        cursor.execute(f"{explain} {sql}", params)
        return shorten(" | ".join(str(row[-1]) for row in cursor.fetchall()), PLAN_WIDTH)
