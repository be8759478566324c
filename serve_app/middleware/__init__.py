"""ASGI layers around every route."""
