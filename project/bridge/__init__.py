"""What makes Django and FastAPI one program under Daphne.

The bridge knows nothing of email: copy this folder into another project. Each package solves one thing that is missing or wrong
when both frameworks share a process; docs/architecture.md explains each, docs/copying-the-bridge.md lists what each needs.
"""
