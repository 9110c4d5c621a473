"""Who came in, who was turned away, and what became of keys, passwords and two-factor login."""
