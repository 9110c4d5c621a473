"""Two databases of the same tables, asked the same in turn. Needs Django to be set up."""

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

AT_MOST = 1.3
PATIENCE = 10.0  # seconds for all rounds of one case
FEWEST = 3  # rounds
PLAN_WIDTH = 400  # characters
PLANNED = ("SELECT", "UPDATE", "DELETE")  # what looks for rows


@dataclass(frozen=True)
class Databases:
    """A connection to each."""

    small: BaseDatabaseWrapper
    large: BaseDatabaseWrapper

    @classmethod
    def filled(cls, mails: Mapping[str, int]) -> "Databases":
        """By their addresses, the small one first, with so many mails in each."""
        return cls(*(_filled(url, count) for url, count in mails.items()))

    def close(self) -> None:
        """Let both go."""
        self.small.close()
        self.large.close()

    def judge(self, cases: Sequence[Case], *, rounds: int) -> bool:
        """Print a line for each case, and under it the plans at the large size. Gives whether all pass."""
        passed = True
        print(f"{'milliseconds':56}{'small':>10}{'large':>10}{'ratio':>8}  <= {AT_MOST:g}")
        for case in cases:
            small, large = self._timed(case, rounds)
            met = large / small <= AT_MOST
            passed = passed and met
            verdict = "PASS" if met else "miss"
            print(f"{case.name:56}{small * 1000:10.2f}{large * 1000:10.2f}{large / small:8.2f}  {verdict}")
            for plan in _explained(case, self.large):
                print(f"    {plan}", flush=True)
        return passed

    def _timed(self, case: Case, rounds: int) -> tuple[float, float]:
        """The median seconds at each size, measured in turn."""
        began = time.perf_counter()
        _once(case, self.small)
        _once(case, self.large)
        small: list[float] = []
        large: list[float] = []
        while len(small) < FEWEST or (len(small) < rounds and time.perf_counter() - began < PATIENCE):
            small.append(_once(case, self.small))
            large.append(_once(case, self.large))
        return median(small), median(large)


def _filled(url: str, mails: int) -> BaseDatabaseWrapper:
    database = connections["default"].copy()
    database.settings_dict["NAME"] = dj_database_url.parse(url)["NAME"]
    connections["default"] = database
    fill(mails)
    if database.vendor == "postgresql":  # which it does by itself, later
        with database.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    return database


def _once(case: Case, database: BaseDatabaseWrapper) -> float:
    """The seconds of one transaction, its commit included."""
    connections["default"] = database
    given = _committed(case.prepare)
    began = time.perf_counter()
    result = _committed(partial(case.act, given))
    seconds = time.perf_counter() - began
    _committed(partial(case.undo, result))
    return seconds


def _committed(function: Callable[[], Any]) -> Any:
    with transaction.atomic():
        return function()


def _explained(case: Case, database: BaseDatabaseWrapper) -> list[str]:
    """The plan of each statement, each plan once."""
    connections["default"] = database
    statements: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    given = _committed(case.prepare)
    with database.execute_wrapper(note):
        result = _committed(partial(case.act, given))
    _committed(partial(case.undo, result))
    return list(dict.fromkeys(_plan(database, sql, params) for sql, params in statements if sql.startswith(PLANNED)))


def _plan(database: BaseDatabaseWrapper, sql: str, params: Any) -> str:
    """In one line, without the end of a long list of ids."""
    explain = "EXPLAIN QUERY PLAN" if database.vendor == "sqlite" else "EXPLAIN (COSTS OFF)"
    with database.cursor() as cursor:
        cursor.execute(f"{explain} {sql}", params)
        return shorten(" | ".join(str(row[-1]) for row in cursor.fetchall()), PLAN_WIDTH)
