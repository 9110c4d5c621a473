"""`python -m bench.slow_relay PORT`: an SMTP server that needs 50 ms for each email, and accepts any number of emails at once.

With `--reject`, it answers 10 % of the emails with 451 and 5 % with 554, after the message.
"""

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from typing import cast

import uvloop

DELAY_SECONDS = 0.05
GREETING = b"220 slow ESMTP\r\n"
EXTENSIONS = b"250-slow\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 20000000\r\n"
OK = b"250 2.0.0 Ok\r\n"
CYCLE = {0: b"451 4.3.0 Not now\r\n", 10: b"451 4.3.0 Not now\r\n", 5: b"554 5.7.1 Refused\r\n"}  # of twenty emails
REPLIES = {
    b"EHLO": EXTENSIONS,
    b"HELO": b"250 slow\r\n",
    b"DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}
END = b"\r\n.\r\n"


class SmtpServerConnection(asyncio.Protocol):
    """One connection. A command or message may arrive in parts, and several may arrive at once."""

    def __init__(self, delay: float, replies: Mapping[int, bytes], numbers: Iterator[int]) -> None:
        self._delay, self._replies, self._numbers = delay, replies, numbers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transport does not inherit from asyncio's class
        self.received = b""
        self.in_data = False
        self.transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        """Reply to all complete commands."""
        self.received += data
        while self._step():
            pass

    def _step(self) -> bool:
        command, ended, rest = self.received.partition(END if self.in_data else b"\r\n")
        if not ended:
            return False
        # An empty message would end with the line break of DATA itself. No benchmark sends an empty message.
        self.received = rest
        if self.in_data:
            self.in_data = False
            reply = self._replies.get(next(self._numbers) % 20, OK)
            asyncio.get_running_loop().call_later(self._delay, self._write, reply)
            return True
        verb = command[:4].upper()
        self.in_data = verb == b"DATA"
        self._write(REPLIES.get(verb, OK))
        if verb == b"QUIT":
            self.transport.close()
        return True

    def _write(self, reply: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(reply)


async def main(port: int, delay: float, replies: Mapping[int, bytes]) -> None:
    """Serve until the process ends."""
    connect = partial(SmtpServerConnection, delay, replies, count())
    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=DELAY_SECONDS, help="seconds for each email")
    parser.add_argument("--reject", action="store_true")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.port, arguments.delay, CYCLE if arguments.reject else {}))
