"""Daphne as a production server: HTTP limits, backpressure, a lifespan, a graceful drain, and a reactor on uvloop.

`daphne_server` has the server class for Daphne's own command line. `lifespan` also works under plain `daphne`.
Needs the packages daphne and fastapi; `reactor` needs daphne and uvloop. Reads no settings: limits are arguments.
"""
