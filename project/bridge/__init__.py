"""What makes Django and FastAPI one program under Daphne.

It knows nothing of mail: copy the folder into another project. Each module stands for one thing that is otherwise
missing or wrong when both frameworks share a process; docs/architecture.md tells them one by one, and
docs/copying-the-bridge.md what each needs.
"""
