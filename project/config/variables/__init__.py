"""The environment variables, one module per subject. `project.config.environment` joins them."""
