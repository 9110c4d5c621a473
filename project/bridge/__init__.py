"""Everything needed to run Django and FastAPI as one program under Daphne.

The bridge contains nothing about email: copy this folder into another project, under any name. Each package solves one subject
that two frameworks in one process need; docs/architecture.md explains them, docs/copying-the-bridge.md lists what each one needs.
"""
