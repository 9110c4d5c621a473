"""Upgrades while the previous version is still running: see docs/upgrading.md."""
