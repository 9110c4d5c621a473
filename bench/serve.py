"""`python -m bench.serve -p PORT bench.bare:application`: what `manage.py serve` does, for another application."""

import sys

if __name__ == "__main__":
    from project.bridge.server.reactor import install_reactor

    install_reactor()
    from project.bridge.server.daphne_server import DaphneCommandLine

    DaphneCommandLine(shutdown_grace=1.0).run(sys.argv[1:])
