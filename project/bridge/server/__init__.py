"""Daphne as a production server: HTTP limits, backpressure, a lifespan, a graceful drain, uvloop.

`daphne_server` is the server class for Daphne's own command line; `lifespan` also works under plain `daphne`.
Needs daphne and fastapi (Starlette); `reactor` also uvloop. Reads no settings: limits and grace are passed in.
"""
