"""Describes a browser by its User-Agent header, so that users recognize their sessions. Pure functions, no I/O."""

UNKNOWN = "Unknown browser"
# In this order, because browsers also name the browsers that they descend from.
_BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "Chrome/": "Chrome",
    "CriOS/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
    "python": "Python",
}
_SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "CrOS": "ChromeOS",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}


def describe_user_agent(user_agent: str) -> str:
    """Return the browser and the operating system, such as `Firefox on Linux`."""
    browser = next((name for mark, name in _BROWSERS.items() if mark in user_agent), UNKNOWN)
    system = next((name for mark, name in _SYSTEMS.items() if mark in user_agent), None)
    return browser if system is None else f"{browser} on {system}"
