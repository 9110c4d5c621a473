"""Notifications that something happened: `local` within a process, `cross_process` between processes.

`local` needs no packages. `cross_process` needs the package channels and the setting `CHANNEL_LAYERS`, with a backend that
several processes share, such as channels-redis.
"""
