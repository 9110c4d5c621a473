"""A child process of the server. The application's lifespan starts, supervises, restarts and stops it.

Needs Unix (socket pairs and process groups), but no packages or settings.
"""
