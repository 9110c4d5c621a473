#!/usr/bin/env python
"""Django's command line. `python manage.py serve` is the server."""

import asyncio
import os
import sys


def main() -> None:
    """Run one of Django's or our commands."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if sys.argv[1:2] == ["serve"]:
        # Daphne makes its event loop when it is imported, which Django does while it loads its apps: too late after this.
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
