"""The one way from async code to Django's ORM: one function is one transaction, on a bounded pool of threads.

With a fair write lock for SQLite, group commit, and bulk inserts. Needs django; reads `DATABASES`.
"""
