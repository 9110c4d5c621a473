"""`python -m bench.peers.backlog COUNT`: queue so many mails at once, the fastest way post_office has."""

import sys

import django

from bench.mails import MAIL


def main(count: int) -> None:
    """One bulk insert."""
    django.setup()
    from post_office import mail  # type: ignore[import-not-found]

    order = {"recipients": MAIL["to"], "sender": MAIL["from"], "subject": MAIL["subject"]}
    mail.send_many([{**order, "message": MAIL["text"], "html_message": MAIL["html"]}] * count)


if __name__ == "__main__":
    main(int(sys.argv[1]))
