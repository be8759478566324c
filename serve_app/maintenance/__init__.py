"""Maintenance beside the answers, as a Ray Serve deployment of its own."""
