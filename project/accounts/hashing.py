"""Password hashing with a bounded number of threads.

A hash takes a quarter of a second of CPU time on purpose. Django handles each login in the admin on a thread of its own, so a
flood of logins would take the CPU from everything else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from project.errors import RetryLater

MAX_HASHES = 2  # at the same time
MAX_WAITING = 32  # threads
WAIT_SECONDS = 10.0
RETRY_AFTER_SECONDS = 5

_hashing, _present = BoundedSemaphore(MAX_HASHES), BoundedSemaphore(MAX_HASHES + MAX_WAITING)


class LoginBusy(RetryLater):
    """Too many passwords are being checked at the moment."""

    code = "login_busy"


class BoundedPBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """Django's default hasher, with at most `MAX_HASHES` hashes at the same time. Existing hashes stay valid."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Return the encoded hash. Raises `LoginBusy` if too many threads wait, or if this thread has waited too long."""
        with _slot():
            return super().encode(password, salt, iterations)


@contextmanager
def _slot() -> Iterator[None]:
    if not _present.acquire(blocking=False):
        raise _busy()
    try:
        if not _hashing.acquire(timeout=WAIT_SECONDS):
            raise _busy()
        try:
            yield
        finally:
            _hashing.release()
    finally:
        _present.release()


def _busy() -> LoginBusy:
    return LoginBusy("Too many logins at the same time. Try again soon.", retry_after=RETRY_AFTER_SECONDS)
