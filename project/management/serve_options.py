"""The options of `manage.py serve`. All other options are Daphne's."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.core.management.base import CommandError

from project.bridge.processes.server_processes import CONNECTION_COUNTS_OPTION, LISTEN_FDS_OPTION

AUTO = "auto"  # one process per CPU core
MAX_PROCESSES = 256
SHARED_COUNTERS_OPTION = "--shared-counters"  # the supervisor adds it


@dataclass(frozen=True)
class ServeOptions:
    """The parsed options. `daphne` are the remaining options."""

    daphne: list[str]
    prepare: bool  # run the command `prepare` first, in this process, because two processes take twice as long
    processes: int | None  # None means one process without a supervisor
    inherited_fds: list[int]  # of the listening sockets, if this process was started by the supervisor
    connection_counts: str  # of the processes of the supervisor
    shared_counters: Path | None  # the file of the counters that the processes of the supervisor share


def parse_serve_options(arguments: Sequence[str], *, default_processes: str | None) -> ServeOptions:
    """Parse the command line. Raises `CommandError`."""
    parser = _parser(default_processes)
    if {"-h", "--help"} & set(arguments):
        parser.print_help()  # Daphne's help follows
    try:
        options, daphne = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise CommandError(str(error)) from None
    fds = [int(fd) for fd in options.fds.split(",") if fd]
    processes = None if options.processes is None or fds else parse_processes(options.processes)
    return ServeOptions(
        daphne,
        prepare=options.prepare and not fds,
        processes=processes,
        inherited_fds=fds,
        connection_counts=options.connection_counts,
        shared_counters=options.shared_counters,
    )


def _parser(default_processes: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "manage.py serve", add_help=False, allow_abbrev=False, exit_on_error=False, epilog="All other options are Daphne's:\n"
    )
    parser.add_argument("--prepare", action="store_true", help="run manage.py prepare first")
    parser.add_argument(
        "--processes",
        metavar="N",
        default=default_processes,
        help=f"run N server processes and a supervisor; {AUTO} means one per CPU core. Default: one process without a supervisor",
    )
    parser.add_argument(SHARED_COUNTERS_OPTION, type=Path, help=argparse.SUPPRESS)
    parser.add_argument(CONNECTION_COUNTS_OPTION, default="", help=argparse.SUPPRESS)
    parser.add_argument(LISTEN_FDS_OPTION, dest="fds", default="", help=argparse.SUPPRESS)
    return parser


def parse_processes(text: str) -> int:
    """Return a number of processes. `auto` means one per core that this process may use. Raises `CommandError`."""
    if text == AUTO:
        return min(usable_cores(), MAX_PROCESSES)
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_PROCESSES:
        raise CommandError(f"--processes must be {AUTO} or a number from 1 to {MAX_PROCESSES}, not {text!r}.")
    return int(text)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
