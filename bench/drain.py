"""`python -m bench.drain`: deliver all queued emails, and print the duration in seconds."""

import time

import django


def main() -> None:
    """Measure the duration of `manage.py deliver --drain` without its imports."""
    django.setup()
    from django.core.management import call_command

    from project.delivery.management.commands.deliver import Command

    command = Command()
    started = time.perf_counter()
    call_command(command, drain=True)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
