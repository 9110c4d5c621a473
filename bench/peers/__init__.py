"""django-post-office behind Django Ninja: what Mailrail is measured beside. Runs in an environment of its own."""
