"""`python -m bench.drain`: deliver what is queued, and print the seconds it took."""

import time

import django


def main() -> None:
    """The clock runs while `manage.py deliver --drain` does: its imports are done before."""
    django.setup()
    from django.core.management import call_command

    from project.delivery.management.commands.deliver import Command

    command = Command()
    began = time.perf_counter()
    call_command(command, drain=True)
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
