"""HTTP load: wrk for many small requests, httpx for a few large requests."""

import json
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench.router import Sample, percentile

TIMEOUT = 120.0  # seconds


@dataclass(frozen=True)
class Request:
    """A request that is repeated. With a body, it is a POST request."""

    url: str
    key: str = ""
    body: Mapping[str, Any] | None = None

    def headers(self) -> dict[str, str]:
        """Return the request's headers."""
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return authorization if self.body is None else {**authorization, "Content-Type": "application/json"}

    def script(self, pause: int) -> str:
        """Return wrk's Lua script. An ASCII JSON string without `\\u` is also a Lua string."""
        headers = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in self.headers().items()]
        body = [] if self.body is None else ['wrk.method = "POST"', f"wrk.body = {json.dumps(json.dumps(self.body))}"]
        delay = [f"function delay() return {pause} end"] if pause else []
        return "\n".join([*headers, *body, *delay])


def wrk(request: Request, *, seconds: int, connections: int = 32, pause: int = 0) -> Sample:
    """Run wrk on one thread, with `pause` milliseconds between a connection's requests. Any status but 2xx is an error."""
    with TemporaryDirectory(prefix="mailrail-bench-") as folder:
        script = Path(folder) / "request.lua"
        script.write_text(request.script(pause))
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s", str(script)]
        output = subprocess.run(["wrk", *options, request.url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or re.search(r"Socket errors: .*(connect|read|write|timeout) [1-9]", output):
        raise SystemExit(f"{request.url} returned errors:\n{output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    return Sample(rate=float(rate[1]), p50=percentile(output, 50), p99=percentile(output, 99))


def post(request: Request) -> None:
    """Send the request once."""
    httpx.post(request.url, json=request.body, headers=request.headers(), timeout=TIMEOUT).raise_for_status()


def sequential_rate(request: Request, *, seconds: int) -> float:
    """Return requests/s of one sequential client, measured for at least this many seconds."""
    content = json.dumps(request.body).encode()
    with httpx.Client(timeout=TIMEOUT) as client:
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            client.post(request.url, content=content, headers=request.headers()).raise_for_status()
            count += 1
        return count / (time.perf_counter() - started)
