"""HTTP load: wrk for many small requests, httpx for a few large ones."""

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
    """What is asked for, over and over. With a body it is a POST."""

    url: str
    key: str = ""
    body: Mapping[str, Any] | None = None

    def headers(self) -> dict[str, str]:
        """Those that it needs."""
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return authorization if self.body is None else {**authorization, "Content-Type": "application/json"}

    def script(self, pause: int) -> str:
        """For wrk, in Lua. A string in JSON is one in Lua too, as long as it is ASCII and has no `\\u`."""
        headers = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in self.headers().items()]
        body = [] if self.body is None else ['wrk.method = "POST"', f"wrk.body = {json.dumps(json.dumps(self.body))}"]
        delay = [f"function delay() return {pause} end"] if pause else []
        return "\n".join([*headers, *body, *delay])


def wrk(request: Request, *, seconds: int, connections: int = 32, pause: int = 0) -> Sample:
    """Run wrk on one thread; each connection pauses so many milliseconds between its requests. Only a 2xx is an answer."""
    with TemporaryDirectory(prefix="mailrail-bench-") as folder:
        script = Path(folder) / "request.lua"
        script.write_text(request.script(pause))
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s", str(script)]
        output = subprocess.run(["wrk", *options, request.url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or re.search(r"Socket errors: .*(connect|read|write|timeout) [1-9]", output):
        raise SystemExit(f"{request.url} answered wrongly:\n{output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    return Sample(rate=float(rate[1]), p50=percentile(output, 50), p99=percentile(output, 99))


def post(request: Request) -> None:
    """Ask once."""
    httpx.post(request.url, json=request.body, headers=request.headers(), timeout=TIMEOUT).raise_for_status()


def one_by_one(request: Request, *, seconds: int) -> float:
    """Requests/s of a client that asks again when it has its answer, for at least so many seconds."""
    content = json.dumps(request.body).encode()
    with httpx.Client(timeout=TIMEOUT) as client:
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            client.post(request.url, content=content, headers=request.headers()).raise_for_status()
            count += 1
        return count / (time.perf_counter() - began)
