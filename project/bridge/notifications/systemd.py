"""Notifications of systemd about the state of this process, for units with `Type=notify` (sd_notify(3))."""

import logging
import os
import socket

logger = logging.getLogger(__name__)

READY = "READY=1"
STOPPING = "STOPPING=1"
SEND_TIMEOUT_SECONDS = 5.0


def notify_systemd(state: str) -> None:
    """Send `READY` or `STOPPING` to systemd, if it started this process and waits for notifications."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a socket without a file
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(SEND_TIMEOUT_SECONDS)
            client.sendto(state.encode(), address)
    except OSError as error:
        logger.warning("systemd was not notified of %s: %s", state, error)
