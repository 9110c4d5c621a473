"""The FastAPI half of the application: HTTP and WebSocket routes under /api, without SQL."""
