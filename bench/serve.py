"""`python -m bench.serve -p PORT bench.bare:application`: what `manage.py serve` does, for another application."""

import sys

if __name__ == "__main__":
    from project.bridge import reactor

    reactor.install()
    from project.bridge.server import CommandLine

    CommandLine(shutdown_grace=1.0).run(sys.argv[1:])
