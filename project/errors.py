"""Base classes of domain errors: each has a message for people and a stable code for programs."""

from math import ceil


class DomainError(Exception):
    """A request that the domain rejects. Subclasses set `code`; `fastapi_app.exception_handlers` maps them to HTTP responses."""

    code = "domain_error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class RetryLater(DomainError):
    """The request may succeed later. `retry_after_seconds` is `retry_after`, rounded up to whole seconds and at least 1."""

    code = "retry_later"

    def __init__(self, detail: str, *, retry_after: float, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = max(1, ceil(retry_after))
        self.headers = {"Retry-After": str(self.retry_after_seconds), **(headers or {})}
