"""Metrics of the connections to relays."""

from prometheus_client import Counter, Histogram

BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

connect_seconds = Histogram(
    "mailrail_smtp_connect_seconds",
    "Time to open a connection to a relay, with TLS and login",
    ["relay"],
    buckets=BUCKETS_SECONDS,
)
connect_failures_total = Counter("mailrail_smtp_connect_failures", "Connections to a relay that could not be opened", ["relay"])
reply_seconds = Histogram(
    "mailrail_smtp_reply_seconds",
    "Time from the end of a message until the relay's reply to the message",
    ["relay"],
    buckets=BUCKETS_SECONDS,
)
