"""A child process beside the server: started, supervised, restarted and stopped by the application's lifespan.

Needs Unix (socket pairs and process groups), but no packages and no settings.
"""
