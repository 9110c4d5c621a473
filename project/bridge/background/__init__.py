"""Background tasks that outlive their request, and the bounded thread pool that runs synchronous work.

`background_tasks` needs the package fastapi. `thread_pool` needs no packages. Reads no settings.
"""
