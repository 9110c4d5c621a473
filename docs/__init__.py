"""The documents, and what makes their pictures."""
