"""Reads the access token for a login with XOAUTH2 from a file or a command. Errors never contain the token."""

import asyncio
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import cast

import aiosmtplib

from project.config.relay_options import TokenSource

TOKEN_TIMEOUT = 10.0  # seconds
KILL_TIMEOUT = 1.0  # seconds until a killed command has ended
MAX_TOKEN_BYTES = 8192  # in Base64, this fits into the 12,288 bytes of an AUTH command (RFC 4954 section 4)
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1


class AccessTokenError(aiosmtplib.SMTPException):
    """The access token could not be read, so the login at the relay failed."""


async def read_access_token(source: TokenSource) -> str:
    """Return the token. Raises `AccessTokenError` if it cannot be read within `TOKEN_TIMEOUT`."""
    name = "token_file" if source.file else "token_command"
    try:
        async with asyncio.timeout(TOKEN_TIMEOUT):
            output = await (asyncio.to_thread(_read_file, Path(source.file)) if source.file else _run(source.command))
    except TimeoutError:
        raise AccessTokenError(f"{name} of EMAIL_URL took longer than {TOKEN_TIMEOUT:g} seconds") from None
    except OSError as error:
        raise AccessTokenError(f"{name} of EMAIL_URL cannot be used: {error.strerror}") from None
    if len(output) > MAX_TOKEN_BYTES:
        raise AccessTokenError(f"{name} of EMAIL_URL returned more than {MAX_TOKEN_BYTES} bytes")
    token = output.strip()
    if not _TOKEN.fullmatch(token):
        raise AccessTokenError(f"{name} of EMAIL_URL returned {'text that is not a token' if token else 'no token'}")
    return token.decode()


def _read_file(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a pipe or device could block the thread forever
        raise AccessTokenError("token_file of EMAIL_URL is not a regular file")
    with path.open("rb") as file:
        return file.read(MAX_TOKEN_BYTES + 1)


async def _run(command: tuple[str, ...]) -> bytes:
    """Return the output of the command, at most one byte more than allowed."""
    null = asyncio.subprocess.DEVNULL  # the command may write the token into its error output
    process = await asyncio.create_subprocess_exec(
        *command, stdin=null, stdout=asyncio.subprocess.PIPE, stderr=null, start_new_session=True
    )
    try:
        output = await _read_output(process)
        if len(output) <= MAX_TOKEN_BYTES and (code := await process.wait()):
            raise AccessTokenError(f"token_command of EMAIL_URL failed with exit code {code}")
        return output
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the process if it still runs, and the processes that it started if they still hold its output open."""
    if process.returncode is None or (process.stdout and not process.stdout.at_eof()):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILL_TIMEOUT)


async def _read_output(process: asyncio.subprocess.Process) -> bytes:
    output, stdout = b"", cast("asyncio.StreamReader", process.stdout)  # a pipe
    while len(output) <= MAX_TOKEN_BYTES and (part := await stdout.read(MAX_TOKEN_BYTES + 1 - len(output))):
        output += part
    return output
