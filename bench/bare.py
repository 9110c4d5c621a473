"""FastAPI with no router before it, to be served as `bench.bare:application` with Daphne's `--root-path /api`."""

import django

django.setup()  # before anything that imports a model

from fastapi_app.main import app as application  # noqa: E402

__all__ = ["application"]
