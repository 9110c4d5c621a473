"""The peers: django-post-office behind Django Ninja, in their own virtual environment."""
