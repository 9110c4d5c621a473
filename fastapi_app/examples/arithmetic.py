"""Types: plain Python that a type checker understands. A type checker rejects `add_numbers(3, "5")`."""


def add_numbers(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y
