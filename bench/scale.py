"""Several processes, workers and machines' parts compared: `python -m bench.scale [PART ...]`.

The parts are accept, workers, killed, celery, priority and rejections. Needs wrk, postfix, postgresql and redis-server from
Debian, and root for a Postfix of its own. All parts are measured in turn, round by round. Exits with 1 if a target is missed.
"""

import shutil
import sys

from bench import acceptance, celery_engine, postfix, priority, rejections, relays, workers
from bench.parts import Part, run_parts
from tests.postgresql import program

PARTS = {
    "accept": Part("Accepting emails durably", acceptance.measure, acceptance.COMPARISONS),
    "workers": Part("Workers that share a queue", workers.measure, workers.COMPARISONS),
    "killed": Part("Workers that are killed", workers.measure_killed, workers.KILLED_COMPARISONS),
    "celery": Part("Celery", celery_engine.measure, celery_engine.COMPARISONS),
    "priority": Part("High priority behind a backlog: less is better", priority.measure, priority.COMPARISONS),
    "rejections": Part("A relay that rejects emails", rejections.measure, rejections.COMPARISONS),
}


def main() -> int:
    """Measure, print and compare."""
    programs = [*relays.missing(), *(name for name in ("wrk", "redis-server", "psql") if shutil.which(name) is None)]
    programs += [] if program("initdb") else ["initdb"]
    needed = [*postfix.missing(), *programs]
    text = f"{', '.join(needed)} is missing: as root, apt-get install wrk postfix postgresql redis-server" if needed else ""
    return run_parts(PARTS, description=__doc__, missing=text)


if __name__ == "__main__":
    sys.exit(main())
