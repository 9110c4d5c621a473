#!/usr/bin/env python
"""Django's command line. `python manage.py serve` is the server."""

import os
import sys


def main() -> None:
    """Run one of Django's or our commands."""
    os.umask(0o077)  # what we write is for us alone
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if sys.argv[1:2] == ["serve"]:
        # Daphne takes the reactor it finds when it is imported, which Django does while it loads its apps: too late after this.
        from project.bridge.server.reactor import install_reactor

        install_reactor()
    from project import cli

    cli.main(sys.argv)


if __name__ == "__main__":
    main()
