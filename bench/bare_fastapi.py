"""FastAPI without our router, served as `bench.bare_fastapi:application` with Daphne's option `--root-path /api`."""

import django

django.setup()  # before anything that imports a model

from fastapi_app.main import app as application  # noqa: E402

__all__ = ["application"]
