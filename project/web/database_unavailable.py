"""Django middleware that answers 503 while the database is unavailable, as the API does."""

import logging

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5


class DatabaseUnavailableMiddleware(MiddlewareMixin):
    """Answers a page that fails with a database error."""

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return 503 for a database error, and None for any other error."""
        if not isinstance(error, DATABASE_UNAVAILABLE_ERRORS):
            return None
        logger.error("A page failed", exc_info=error)
        text = "The database is unavailable. Try again soon.\n"
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"}
        return HttpResponse(text, "text/plain", 503, headers=headers)
