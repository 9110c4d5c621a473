"""Everything needed to run Django and FastAPI as one program under Daphne.

The bridge contains no email code, so you can copy this folder into another project, under any name. Each package solves one
problem of running two frameworks in one process. docs/architecture.md explains the packages, and docs/copying-the-bridge.md
lists the requirements of each package.
"""
