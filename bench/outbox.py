"""Submission and delivery compared with peers: `python -m bench.outbox [PART ...]`.

The parts are accept, delivery, slow, latency, priority and mixed. Needs wrk and postfix from Debian (of postfix only smtp-sink
and smtp-source are run). The peers, django-post-office behind Django Ninja, get their own virtual environment on the first run.
All parts are measured in turn, round by round, on fresh data that is equally durable on both sides. Exits with 1 if a target is
missed.
"""

import shutil
import sys

from bench import delivery, latency, priority, submission
from bench.parts import Part, run_parts
from bench.relays import missing

PARTS = {
    "accept": Part("Submitting emails", submission.measure, submission.COMPARISONS),
    "delivery": Part("Delivering 2,000 emails, database included", delivery.measure, delivery.COMPARISONS),
    "slow": Part("Delivering to a relay that needs 50 ms per email", delivery.measure_slow, delivery.SLOW_COMPARISONS),
    "latency": Part("Latency of GET /api/add during delivery: less is better", latency.measure, latency.COMPARISONS),
    "priority": Part("High priority behind a backlog: less is better", priority.measure, priority.COMPARISONS),
    "mixed": Part("Submitting and delivering at once", latency.measure_mixed, latency.MIXED_COMPARISONS),
}


def main() -> int:
    """Measure, print and compare."""
    programs = [*missing(), *([] if shutil.which("wrk") else ["wrk"])]
    needed = f"{', '.join(programs)} is missing: apt-get install wrk postfix" if programs else ""
    return run_parts(PARTS, description=__doc__, missing=needed)


if __name__ == "__main__":
    sys.exit(main())
