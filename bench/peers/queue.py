"""`python -m bench.peers.queue COUNT`: queue this many emails in the fastest way that post_office offers."""

import sys

import django

from bench.sample_email import EMAIL


def main(count: int) -> None:
    """Queue the emails with one bulk insert."""
    django.setup()
    from post_office import mail  # type: ignore[import-not-found]

    email = {"recipients": EMAIL["to"], "sender": EMAIL["from"], "subject": EMAIL["subject"]}
    mail.send_many([{**email, "message": EMAIL["text"], "html_message": EMAIL["html"]}] * count)


if __name__ == "__main__":
    main(int(sys.argv[1]))
