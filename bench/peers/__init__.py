"""The peers that Mailrail is compared with: django-post-office behind Django Ninja, in their own virtual environment."""
