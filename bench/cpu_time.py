"""CPU time of processes and their descendants, read from /proc. Other load on the machine changes it little."""

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
USER_TIME, CHILDREN_SYSTEM_TIME = 11, 14  # indexes of the first and last time in /proc/PID/stat, after the program's name


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process, its ended children and its running descendants have used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # the process has just ended
        return 0.0
    own = sum(map(int, fields[USER_TIME : CHILDREN_SYSTEM_TIME + 1])) / TICKS_PER_SECOND
    return own + sum(cpu_seconds(child) for child in children)
