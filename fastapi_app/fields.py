"""Fields that several schemas have."""


def storable(text: str) -> str:
    """The text, unless it holds what PostgreSQL cannot store. Raises ValueError."""
    if "\x00" in text:
        raise ValueError("a text holds no NUL character")
    return text
