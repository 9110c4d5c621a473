"""Reading the access token for XOAUTH2 from a file or a command."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from project.config.relay_options import TokenSource
from project.transports.smtp import access_token
from project.transports.smtp.access_token import AccessTokenError, read_access_token
from tests.project.transports.fake_relay import until

pytestmark = pytest.mark.anyio

TOKEN = "ya29.a0Af_B-y~+/=="


def python(code: str) -> TokenSource:
    """Return a command that runs Python code."""
    return TokenSource(command=(sys.executable, "-c", code))


@pytest.fixture
def file(tmp_path: Path) -> TokenSource:
    """Return a token file, which does not exist yet."""
    return TokenSource(file=str(tmp_path / "token"))


def write(source: TokenSource, content: str) -> None:
    """Write the token file."""
    Path(source.file).write_text(content, newline="")


def is_running(pid_file: str) -> bool:
    """Return whether the process with the number in this file runs. A killed process may remain as a zombie."""
    state = Path(f"/proc/{Path(pid_file).read_text().strip()}/stat")
    return state.exists() and " Z " not in state.read_text()


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"{TOKEN}\r\n"])
async def test_reads_the_token_anew_from_its_file(file: TokenSource, content: str) -> None:
    write(file, "old")
    old = await read_access_token(file)
    write(file, content)

    assert (old, await read_access_token(file)) == ("old", TOKEN)


async def test_runs_the_command_without_a_shell() -> None:
    source = TokenSource(command=("/bin/echo", "$HOME;id"))

    with pytest.raises(AccessTokenError, match="token_command of EMAIL_URL returned text that is not a token"):
        await read_access_token(source)
    assert await read_access_token(TokenSource(command=("/bin/echo", TOKEN))) == TOKEN


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise SystemExit('hunter2')", "failed with exit code 1"),
        ("print('hunter2'); raise SystemExit(3)", "failed with exit code 3"),
        ("pass", "returned no token"),
        ("print('hunter2 hunter2')", "returned text that is not a token"),
        (r"print('hunter2\x01auth=')", "returned text that is not a token"),
        ("while True: print('hunter2')", "returned more than 8192 bytes"),
    ],
)
async def test_rejects_the_output_of_a_failed_command_without_showing_it(code: str, problem: str) -> None:
    with pytest.raises(AccessTokenError) as failed:
        await read_access_token(python(code))

    assert str(failed.value) == f"token_command of EMAIL_URL {problem}"


async def test_rejects_a_file_that_contains_no_token(file: TokenSource) -> None:
    problems = []
    for content in (None, "", "two tokens", "x" * 8193):
        if content is not None:
            write(file, content)
        with pytest.raises(AccessTokenError) as failed:
            await read_access_token(file)
        problems.append(str(failed.value).removeprefix("token_file of EMAIL_URL "))

    expected = ["cannot be used: No such file or directory", "returned no token", "returned text that is not a token"]
    assert problems == [*expected, "returned more than 8192 bytes"]


async def test_does_not_open_a_pipe(file: TokenSource) -> None:
    os.mkfifo(file.file)

    with pytest.raises(AccessTokenError, match="token_file of EMAIL_URL is not a regular file"):
        await read_access_token(file)


async def test_stops_a_command_that_takes_too_long_and_its_processes(file: TokenSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_token, "TOKEN_TIMEOUT", 0.5)
    script = f"sleep 600 & echo $! > {shlex.quote(file.file)}; wait"

    with pytest.raises(AccessTokenError, match=r"token_command of EMAIL_URL took longer than 0\.5 seconds"):
        await read_access_token(TokenSource(command=("/bin/sh", "-c", script)))

    await until(lambda: not is_running(file.file))


async def test_a_missing_command_is_an_error() -> None:
    with pytest.raises(AccessTokenError, match="token_command of EMAIL_URL cannot be used: No such file or directory"):
        await read_access_token(TokenSource(command=("/no/such/command",)))
