"""The FastAPI half: HTTP and WebSocket under /api, and no SQL."""
