"""Types: plain Python, which a type checker understands. `add_numbers(3, "5")` does not pass it."""


def add_numbers(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y
