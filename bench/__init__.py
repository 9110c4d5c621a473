"""Benchmarks, run by hand: `python bench/router.py`, `python -m bench.outbox`, …"""
