"""A Django app whose migrations the running version would not survive. It shows that the linter refuses such migrations."""
