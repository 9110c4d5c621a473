"""The only way to use Django's ORM from async code: each function runs as one transaction, on a bounded pool of threads.

Also has a fair write lock for SQLite, group commit and bulk inserts. Needs the package django and the setting `DATABASES`.
"""
