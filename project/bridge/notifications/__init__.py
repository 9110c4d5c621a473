"""Notifications about events: `local` within a process, and `cross_process` between processes.

`local` needs no packages. `cross_process` needs the package channels and the setting `CHANNEL_LAYERS`, with a backend that
several processes share, such as channels-redis.
"""
