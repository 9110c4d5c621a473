"""Background tasks that outlive their request, and the thread pool that runs synchronous work.

`background_tasks` needs fastapi; `thread_pool` needs nothing.
"""
