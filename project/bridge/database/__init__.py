"""The one way from async code to Django's ORM: one function is one transaction, on a bounded pool of threads.

Also a fair write lock for SQLite, group commit, and bulk inserts. Needs the package django and the setting `DATABASES`.
"""
