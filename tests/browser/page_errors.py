"""What must not happen while a page is open: errors in its console, failed answers, requests to another host."""

from urllib.parse import urlsplit

from tests.browser.chromium import BrowserContext, ConsoleMessage, Error, Request, Response

OURS = "127.0.0.1"


class PageErrors:
    """Notes everything of that kind. What a test provokes on purpose, it says beforehand with `expect`."""

    def __init__(self, context: BrowserContext) -> None:
        self.foreign: list[str] = []  # addresses on other hosts
        self.errors: list[str] = []
        self._expected: dict[str, int] = {}  # path: status
        self._seen: set[str] = set()
        context.on("request", self._on_request)
        context.on("response", self._on_response)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self._on_page_error(error.error))

    def expect(self, status: int, path: str) -> None:
        """Let that path fail so, and no other way. It must, then."""
        self._expected[path] = status

    def complaints(self) -> list[str]:
        """All that went wrong."""
        missed = [f"no {status} from {path}" for path, status in self._expected.items() if path not in self._seen]
        return [*(f"request to {url}" for url in self.foreign), *self.errors, *missed]

    def _on_request(self, request: Request) -> None:
        host = urlsplit(request.url).hostname  # data: and blob: have none
        if host not in (OURS, None):
            self.foreign.append(request.url)

    def _on_response(self, response: Response) -> None:
        path = urlsplit(response.url).path
        if self._expected.get(path) == response.status:
            self._seen.add(path)
        elif response.status >= 400:
            self.errors.append(f"{response.status} from {response.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        # The browser says there once more what a failed response was: that is judged above.
        if message.type == "error" and urlsplit(message.location["url"]).path not in self._expected:
            self.errors.append(f"console: {message.text}")

    def _on_page_error(self, error: Error) -> None:
        self.errors.append(f"page: {error.message}")
