"""`python -m bench.serve -p PORT bench.bare_fastapi:application`: the server of `manage.py serve` with another application."""

import sys

if __name__ == "__main__":
    from project.bridge.server.reactor import install_reactor

    install_reactor()
    from project.bridge.server.command_line import DaphneCommandLine

    DaphneCommandLine(shutdown_grace=1.0).run(sys.argv[1:])
