"""Settings for `manage.py lintmigrations` of django-migration-linter, which refuses migrations that break the running version.

The linter reads the SQL of each migration. On SQLite, it also refuses migrations that copy a table, because all writers wait
meanwhile.
"""

from project.settings import *  # noqa: F403
from project.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_migration_linter", "tests.upgrade.incompatible"]

# Migrations that may do what the linter refuses, with the reason.
EXEMPT_MIGRATIONS = {
    "postgresql": {
        "0002_owner": "An installation has few API keys, so the index is built at once.",
    },
    "sqlite": {
        "0003_token_version": "The new column has a default in the database. An installation has few users to copy.",
        "0004_sessions": "The new column has a default in the database. An installation has few users to copy.",
        "0002_actor_kind_and_object": "The new columns have a default in the database, and old audit entries are deleted.",
        "0004_outage_of_each_relay": "The migration creates the table that it copies, so the table is empty.",
    },
}
_database = DATABASES["default"]["ENGINE"].rpartition(".")[2].removesuffix("3")
MIGRATION_LINTER_OPTIONS = {
    "no_cache": True,
    "exclude_apps": ["otp_static", "otp_totp"],  # not ours
    "exclude_migration_tests": ["RUNPYTHON_MODEL_VARIABLE_NAME"],  # a matter of style
    "warnings_as_errors": [],  # all: indexes that are not built concurrently, data migrations that cannot be reversed, …
    "ignore_name": [*EXEMPT_MIGRATIONS[_database]],
}
