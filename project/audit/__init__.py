"""Who came in, who was turned away, and which keys were made, changed and ended."""
