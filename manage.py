#!/usr/bin/env python
"""Django's command line. `python manage.py serve` starts the server."""

import gc
import os
import sys

# Imports create many objects and little garbage. With Python's default of (700, 10, 10), the garbage collector would lengthen the
# start of each command by a tenth.
GC_THRESHOLDS = (50_000, 20, 20)


def main() -> None:
    """Run a management command."""
    gc.set_threshold(*GC_THRESHOLDS)
    os.umask(0o077)  # files are readable by their owner only
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if sys.argv[1:2] == ["serve"]:
        # Must come first: Daphne uses the reactor that is installed when it is imported.
        from project.bridge.server.reactor import install_reactor

        install_reactor()
    from project import cli

    cli.main(sys.argv)


if __name__ == "__main__":
    main()
