"""The documentation, and the scripts that generate its screenshots."""
