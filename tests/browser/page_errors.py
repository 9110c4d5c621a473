"""Collects errors while pages are open: console errors, failed responses, requests to other hosts."""

from urllib.parse import urlsplit

from tests.browser.chromium import BrowserContext, ConsoleMessage, Error, Request, Response

SERVER_HOST = "127.0.0.1"


class PageErrors:
    """Record the errors of all pages of a browser context, except errors from responses announced with `expect`."""

    def __init__(self, context: BrowserContext) -> None:
        self.foreign_urls: list[str] = []  # URLs of requests to other hosts
        self.errors: list[str] = []
        self._expected: dict[str, int] = {}  # {path: status}
        self._seen: set[str] = set()
        context.on("request", self._on_request)
        context.on("response", self._on_response)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self._on_page_error(error.error))

    def expect(self, status: int, path: str) -> None:
        """Expect a response with this status from the path. A response that never comes is an error."""
        self._expected[path] = status

    def unexpected(self) -> list[str]:
        """Return all unexpected errors, and the expected responses that did not come."""
        missed = [f"no {status} from {path}" for path, status in self._expected.items() if path not in self._seen]
        return [*(f"request to {url}" for url in self.foreign_urls), *self.errors, *missed]

    def _on_request(self, request: Request) -> None:
        host = urlsplit(request.url).hostname  # None for data: and blob: URLs
        if host not in (SERVER_HOST, None):
            self.foreign_urls.append(request.url)

    def _on_response(self, response: Response) -> None:
        path = urlsplit(response.url).path
        if self._expected.get(path) == response.status:
            self._seen.add(path)
        elif response.status >= 400:
            self.errors.append(f"{response.status} from {response.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        # The console also logs errors for expected paths. `_on_response` has already checked these responses.
        if message.type == "error" and urlsplit(message.location["url"]).path not in self._expected:
            self.errors.append(f"console: {message.text}")

    def _on_page_error(self, error: Error) -> None:
        self.errors.append(f"page: {error.message}")
