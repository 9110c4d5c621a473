"""Measurements, each run by hand: `python bench/NAME.py`."""
