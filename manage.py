#!/usr/bin/env python
"""Django's command line. `python manage.py serve` starts the server."""

import os
import sys


def main() -> None:
    """Run a management command."""
    os.umask(0o077)  # files are readable by their owner only
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if sys.argv[1:2] == ["serve"]:
        # Must come first: Daphne uses the reactor that is installed when it is imported, and Django imports it with its apps.
        from project.bridge.server.reactor import install_reactor

        install_reactor()
    from project import cli

    cli.main(sys.argv)


if __name__ == "__main__":
    main()
