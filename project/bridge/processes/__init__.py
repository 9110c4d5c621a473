"""A supervised process beside the server: started, restarted and stopped with it. Needs a Unix and no packages."""
