"""Signals between the notifications and the connections to other processes, such as the supervisor's pipes.

A connection sends each topic of `outgoing` to other processes, and sends the topics that it receives with `incoming`. Both
signals are sent in the event loop.
"""

from .local import LocalSignal

outgoing = LocalSignal[[str]]()  # a topic that other processes must be notified of
incoming = LocalSignal[[str]]()  # a topic that another process has sent
