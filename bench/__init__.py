"""Benchmarks that are run by hand, for example with `python bench/router.py` or `python -m bench.outbox`."""
