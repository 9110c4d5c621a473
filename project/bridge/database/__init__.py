"""The one way from async code to Django's ORM: each function runs as one transaction, on a bounded pool of threads.

Also has a fair write lock for SQLite, group commit and bulk inserts. Needs the package django and the setting `DATABASES`.
"""
