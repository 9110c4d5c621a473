"""Signals that something happened: `local` within a process, `cross_process` between processes over Channels.

`local` needs nothing; `cross_process` needs channels and `CHANNEL_LAYERS` (with channels-redis).
"""
